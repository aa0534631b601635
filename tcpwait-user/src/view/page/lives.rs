//! Single connections as bars: a row each, the states one after the other.

use jiff::tz::TimeZone;

use super::{
    axis::{self, Scale},
    course::class,
    svg::Svg,
};
use crate::{
    origin::Origin,
    plain,
    report::lives::{SampledLife, SampledLives},
    timeline::{Start, Stay},
    view::{
        ViewContext,
        stat::sentences::end_name,
        units::{count, counted, duration},
    },
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 150.0;
const ROW: f64 = 14.0;

/// Letters that fit into the margin.
const LETTERS: usize = 52;
const LETTERS_AT_THE_END: usize = 24;

/// Says which connections are shown, of how many.
pub fn sentence(lives: &SampledLives, shown: usize) -> String {
    let (all, notable, overlooked) = lives.counts();
    let mut text = format!(
        "{} of {}: those that ended otherwise than by FINs on both sides and a whole TIME_WAIT ({} of {}), the 40 longest, the 40 shortest, and 40 by chance.",
        counted(shown as u64, "connection", "connections"),
        count(all),
        count(notable.min(80)),
        count(notable),
    );
    if overlooked > 0 {
        text.push_str(&format!(
            " {} were open at once beyond what is kept in mind, and are not among them.",
            count(overlooked)
        ));
    }
    text
}

/// The picture, or why there is none.
pub fn picture(
    lives: &SampledLives,
    span_ns: (u64, u64),
    context: ViewContext<'_>,
    zone: &TimeZone,
) -> Result<String, &'static str> {
    let shown = lives.shown();
    if shown.is_empty() {
        return Err("No connection was seen.");
    }
    let height = shown.len() as f64 * ROW;
    let x = Scale::new((span_ns.0 as f64, span_ns.1 as f64), (LEFT, WIDTH - RIGHT));
    let mut svg = Svg::new(WIDTH, height + 24.0, "Single connections, their states over time");
    for (index, life) in shown.iter().enumerate() {
        row(&mut svg, life, index as f64 * ROW, x, context);
    }
    axis::time(&mut svg, x, span_ns, height + 2.0, context, zone);
    Ok(svg.finish())
}

fn row(svg: &mut Svg, life: &SampledLife, y: f64, x: Scale, context: ViewContext<'_>) {
    let name = name(life);
    svg.text("mono small end", (LEFT - 6.0, y + 10.0), &shortened(&name, LETTERS));
    for stay in &life.stays {
        let (begin, end) = (x.at(stay.begin_ns as f64), x.at(stay.end_ns as f64));
        let class = class(stay.state);
        svg.rect(&class, (begin, y + 1.0), ((end - begin).max(0.6), ROW - 3.0), Some(&told(&name, stay, context)));
    }
    if let Some((reason, detail)) = life.end {
        let (_, end) = life.span_ns();
        let class = if life.is_notable { "small wrong" } else { "small" };
        svg.text(class, (x.at(end as f64) + 4.0, y + 10.0), &shortened(&end_name(reason, detail), LETTERS_AT_THE_END));
    }
}

fn told(name: &str, stay: &Stay, context: ViewContext<'_>) -> String {
    let length = duration(Some(stay.end_ns.saturating_sub(stay.begin_ns)));
    let exactly = match stay.start {
        Start::Exact => length,
        Start::Jiffy => format!("~{length}"),
        Start::Earlier => format!("at least {length}"),
        Start::Unknown => "for an unknown time".to_owned(),
    };
    let goes_on = if stay.is_open { ", not seen to end" } else { "" };
    let since = duration(Some(stay.begin_ns.saturating_sub(context.started_ns)));
    format!("{name}\n{}: {exactly}{goes_on}, from {since} on", stay.state)
}

/// The local end, an arrow from the side that made the connection, the remote end, and whose it is.
fn name(life: &SampledLife) -> String {
    let flow = &life.flow;
    let arrow = match life.of.origin {
        Origin::Here => "→",
        Origin::There => "←",
        _ => "–",
    };
    let (local, remote) =
        (std::net::SocketAddr::new(flow.laddr, flow.lport), std::net::SocketAddr::new(flow.raddr, flow.rport));
    let owner = life.owner.as_ref().map(|task| format!(" {}", plain::escaped(&task.comm()))).unwrap_or_default();
    format!("{local} {arrow} {remote}{owner}")
}

fn shortened(text: &str, letters: usize) -> String {
    if plain::width(text) <= letters {
        return text.to_owned();
    }
    format!("{}+", plain::fitting(text, letters - 1))
}
