//! Single connections as bars: a row each, the states one after the other.

use super::{
    axis::{Scale, TimeAxis},
    data::PictureData,
    frame::WIDTH,
    sockets::class,
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

const LEFT: f64 = 330.0;
const RIGHT: f64 = 150.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
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
pub fn picture(lives: &SampledLives, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    let shown = lives.shown();
    if shown.is_empty() {
        return Err("No connection was seen.");
    }
    let height = shown.len() as f64 * ROW;
    let x = axis.scale(PLOT);
    let mut svg = Svg::new("lives", (WIDTH, height + 24.0), "Single connections, their states over time");
    for (index, life) in shown.iter().enumerate() {
        let y = index as f64 * ROW + 10.0;
        svg.text("mono small end", (LEFT - 6.0, y), &shortened(&name(life), LETTERS));
        if let Some((reason, detail)) = life.end {
            let class = if life.is_notable { "small wrong" } else { "small" };
            svg.text(class, (LEFT + PLOT + 6.0, y), &shortened(&end_name(reason, detail), LETTERS_AT_THE_END));
        }
    }
    svg.begin_plot((LEFT, 0.0), (PLOT, height));
    for (index, life) in shown.iter().enumerate() {
        row(&mut svg, life, index as f64 * ROW, x, axis.context);
    }
    svg.end_plot();
    axis.draw(&mut svg, (LEFT, PLOT), height + 2.0);
    Ok(svg.finish())
}

/// The numbers: connections, and their stays in states.
pub fn data(lives: &SampledLives, axis: &TimeAxis<'_>) -> [PictureData; 2] {
    let shown = lives.shown();
    let connections = shown.iter().map(|life| {
        let (begin_ns, end_ns) = life.span_ns();
        let end = life.end.map(|(reason, detail)| end_name(reason, detail));
        let owner = life.owner.as_ref().map(|task| task.comm().to_string());
        vec![
            addresses(life).into(),
            owner.into(),
            axis.seconds(begin_ns).into(),
            axis.seconds(end_ns).into(),
            end.into(),
        ]
    });
    let stays = shown.iter().enumerate().flat_map(|(index, life)| {
        let stay = move |stay: &Stay| {
            let start = match stay.start {
                Start::Exact => "exact",
                Start::Jiffy => "jiffy",
                Start::Earlier => "earlier",
                Start::Unknown => "unknown",
            };
            let (begin, end) = (axis.seconds(stay.begin_ns), axis.seconds(stay.end_ns));
            vec![index.into(), stay.state.name().into(), begin.into(), end.into(), start.into(), stay.is_open.into()]
        };
        life.stays.iter().map(stay)
    });
    [
        PictureData::new("lives", ["addresses", "process", "begin_s", "end_s", "ended_by"], connections),
        PictureData::new("stays", ["life", "state", "begin_s", "end_s", "begin", "goes_on"], stays),
    ]
}

fn row(svg: &mut Svg, life: &SampledLife, y: f64, x: Scale, context: ViewContext<'_>) {
    for stay in &life.stays {
        let (begin, end) = (x.at(stay.begin_ns as f64), x.at(stay.end_ns as f64));
        let class = format!("stay {}", class(stay.state));
        // A shape without width is not drawn; its outline, which is always as wide, is.
        svg.rect(&class, (begin, y + 1.0), ((end - begin).max(0.01), ROW - 3.0), Some(&told(stay, context)));
    }
}

fn told(stay: &Stay, context: ViewContext<'_>) -> String {
    let length = duration(Some(stay.end_ns.saturating_sub(stay.begin_ns)));
    let exactly = match stay.start {
        Start::Exact => length,
        Start::Jiffy => format!("~{length}"),
        Start::Earlier => format!("at least {length}"),
        Start::Unknown => "for an unknown time".to_owned(),
    };
    let goes_on = if stay.is_open { ", not seen to end" } else { "" };
    let since = duration(Some(stay.begin_ns.saturating_sub(context.started_ns)));
    format!("{}: {exactly}{goes_on}, from {since} on", stay.state)
}

/// The local end, an arrow from the side that made the connection, the remote end, and whose it is.
fn name(life: &SampledLife) -> String {
    let owner = life.owner.as_ref().map(|task| format!(" {}", plain::escaped(&task.comm()))).unwrap_or_default();
    format!("{}{owner}", addresses(life))
}

fn addresses(life: &SampledLife) -> String {
    let flow = &life.flow;
    let arrow = match life.of.origin {
        Origin::Here => "→",
        Origin::There => "←",
        _ => "–",
    };
    let (local, remote) =
        (std::net::SocketAddr::new(flow.laddr, flow.lport), std::net::SocketAddr::new(flow.raddr, flow.rport));
    format!("{local} {arrow} {remote}")
}

fn shortened(text: &str, letters: usize) -> String {
    if plain::width(text) <= letters {
        return text.to_owned();
    }
    format!("{}+", plain::fitting(text, letters - 1))
}
