//! How often a time was how long: bars on a logarithmic scale of times, and for TIME_WAIT the share that was over by then too, with its end, at a minute,
//! on a scale of its own.

use super::{
    axis::{Scale, round_up},
    data::PictureData,
    frame::{LEFT, PLOT, WIDTH, grid, mark},
    svg::Svg,
};
use crate::{
    report::time_buckets::{LONG_NS, LONGEST_NS, TimeBucket, TimeBuckets},
    tcp::TIMEWAIT_LEN_NS,
    view::units::{count, duration, percent},
};

const TOP: f64 = 24.0;
const HEIGHT: f64 = 160.0;

/// Between the two halves of TIME_WAIT's pictures.
const GAP: f64 = 24.0;
const HALF: f64 = (PLOT - GAP) / 2.0;

/// Room for what is beyond the ends of a scale.
const BEYOND: f64 = 24.0;

const SECOND: u64 = 1_000_000_000;

/// Times to be set side by side: what they are, their class, and how often each was.
pub type KindOfTimes<'a> = (&'static str, &'static str, &'a TimeBuckets);

/// How long handshakes took, of each kind, or why there is no picture.
pub fn handshakes(kinds: [KindOfTimes<'_>; 2]) -> Result<String, &'static str> {
    let known = || kinds.iter().flat_map(|(_, _, times)| times.all()).filter(|bucket| bucket.count > 0);
    let Some(most) = known().map(|bucket| bucket.count).max() else {
        return Err("No handshake was seen from its beginning to its end.");
    };
    // From the decade of the shortest to that of the longest.
    let from = known().map(|bucket| bucket.from_ns).min().unwrap_or_default().max(1_000);
    let to = known().map(|bucket| bucket.to_ns.unwrap_or(100 * SECOND)).max().unwrap_or(SECOND);
    let (low, high) = ((from as f64).log10().floor(), (to as f64).log10().ceil());
    let x = Scale::new((low, high), (LEFT + BEYOND, LEFT + PLOT - BEYOND));
    let at = |ns: u64| x.at((ns.max(1) as f64).log10());
    let top = round_up(most as f64);
    let mut svg = Svg::new("handshakes", (WIDTH, TOP + HEIGHT + 24.0), "How long handshakes took");
    let y = Scale::new((0.0, top), (TOP + HEIGHT, TOP));
    grid(&mut svg, "handshakes", top, y);
    for (kind, (name, class, times)) in kinds.iter().enumerate() {
        for bucket in times.all().filter(|bucket| bucket.count > 0) {
            let (from, to) = match (bucket.from_ns, bucket.to_ns) {
                (0, _) => (LEFT, LEFT + BEYOND),
                (_, None) => (LEFT + PLOT - BEYOND, LEFT + PLOT),
                (from_ns, Some(to_ns)) => (at(from_ns), at(to_ns)),
            };
            let (half, height) = ((to - from) / 2.0, TOP + HEIGHT - y.at(bucket.count as f64));
            let told = format!("{name}: {}", told(&bucket));
            svg.rect(class, (from + kind as f64 * half, TOP + HEIGHT - height), (half - 0.5, height), Some(&told));
        }
    }
    for power in low as i32..=high as i32 {
        let ns = 10u64.saturating_pow(power.unsigned_abs());
        tick(&mut svg, at(ns), &short(ns));
    }
    Ok(svg.finish())
}

/// How long TIME_WAIT took; `normal_to_ns`: how late a timer may be at the latest, where that is known.
pub fn time_wait(times: &TimeBuckets, normal_to_ns: Option<u64>) -> Result<String, &'static str> {
    let most = times.all().map(|bucket| bucket.count).max().unwrap_or_default();
    if most == 0 {
        return Err(NONE);
    }
    let top = round_up(most as f64);
    let mut svg = Svg::new("time-wait", (WIDTH, TOP + HEIGHT + 24.0), "How long TIME_WAIT took");
    let y = Scale::new((0.0, top), (TOP + HEIGHT, TOP));
    band(&mut svg, normal_to_ns);
    grid(&mut svg, "TIME_WAITs that ended", top, y);
    for bucket in times.all().filter(|bucket| bucket.count > 0) {
        let (from, to) = place(&bucket);
        let height = TOP + HEIGHT - y.at(bucket.count as f64);
        svg.rect(
            "s-time-wait",
            (from, TOP + HEIGHT - height),
            ((to - from - 0.5).max(1.0), height),
            Some(&told(&bucket)),
        );
    }
    axes(&mut svg);
    Ok(svg.finish())
}

/// Which share of the TIME_WAITs was over by then.
pub fn time_wait_shares(times: &TimeBuckets, normal_to_ns: Option<u64>) -> Result<String, &'static str> {
    let total = times.total();
    if total == 0 {
        return Err(NONE);
    }
    let label = "Which share of the TIME_WAITs was over after which time";
    let mut svg = Svg::new("time-wait-shares", (WIDTH, TOP + HEIGHT + 24.0), label);
    let y = Scale::new((0.0, 1.0), (TOP + HEIGHT, TOP));
    band(&mut svg, normal_to_ns);
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        mark(&mut svg, y.at(share), &percent(Some(share)));
    }
    svg.text("small name", (LEFT, TOP - 8.0), "share that was over");
    let (mut over, mut path) = (0, format!("M{LEFT:.0} {:.1}", TOP + HEIGHT));
    for bucket in times.all() {
        over += bucket.count;
        let (from, to) = place(&bucket);
        // Where in its bucket each was is not known: the line goes straight through it.
        path.push_str(&format!("H{from:.1}L{to:.1} {:.1}", y.at(over as f64 / total as f64)));
    }
    svg.path("left", &path, None);
    axes(&mut svg);
    Ok(svg.finish())
}

const NONE: &str = "No TIME_WAIT ended whose length is known.";

/// The numbers of a picture.
pub fn data<'a>(name: &'static str, kinds: &[KindOfTimes<'a>]) -> PictureData {
    let columns = ["from_ns", "to_ns"].into_iter().chain(kinds.iter().map(|(name, ..)| *name));
    let counts: Vec<Vec<TimeBucket>> = kinds.iter().map(|(_, _, times)| times.all().collect()).collect();
    let first = counts.first().map_or(&[][..], Vec::as_slice);
    let row = |(index, bucket): (usize, &TimeBucket)| {
        let numbers = counts.iter().map(move |kind| kind.get(index).map(|bucket| bucket.count).into());
        [bucket.from_ns.into(), bucket.to_ns.into()].into_iter().chain(numbers).collect()
    };
    PictureData::new(name, columns, first.iter().enumerate().map(row))
}

/// Where a time in TIME_WAIT lies.
fn place(bucket: &TimeBucket) -> (f64, f64) {
    let short = Scale::new((6.0, (LONG_NS as f64).log10()), (LEFT + BEYOND, LEFT + HALF));
    let long = Scale::new((LONG_NS as f64, LONGEST_NS as f64), (LEFT + HALF + GAP, LEFT + PLOT - BEYOND));
    let at = |ns: u64| if ns < LONG_NS { short.at((ns as f64).log10()) } else { long.at(ns as f64) };
    match (bucket.from_ns, bucket.to_ns) {
        (0, _) => (LEFT, LEFT + BEYOND),
        (from_ns, None) => (at(from_ns), LEFT + PLOT),
        (from_ns, Some(LONG_NS)) => (at(from_ns), LEFT + HALF),
        (from_ns, Some(to_ns)) => (at(from_ns), at(to_ns)),
    }
}

/// When the kernel's timer may run out.
fn band(svg: &mut Svg, normal_to_ns: Option<u64>) {
    let Some(normal_to_ns) = normal_to_ns else { return };
    let (from, _) = place(&TimeBucket { from_ns: TIMEWAIT_LEN_NS, to_ns: None, count: 0 });
    let (to, _) = place(&TimeBucket { from_ns: normal_to_ns.min(LONGEST_NS), to_ns: None, count: 0 });
    let told = format!("the kernel's timer runs out between 60s and {}", duration(Some(normal_to_ns)));
    svg.rect("band", (from, TOP), (to - from, HEIGHT), Some(&told));
    svg.text("end small name", (LEFT + PLOT, TOP - 8.0), "band: when the kernel's timer runs out");
}

/// Marks below both halves, and what tells them apart.
fn axes(svg: &mut Svg) {
    let mark = |svg: &mut Svg, ns: u64, text: &str| {
        let (x, _) = place(&TimeBucket { from_ns: ns, to_ns: None, count: 0 });
        tick(svg, x, text);
    };
    for ns in [1_000_000, 10_000_000, 100_000_000, SECOND, 10 * SECOND] {
        mark(svg, ns, &short(ns));
    }
    for second in [55, 60, 65, 70] {
        mark(svg, second * SECOND, &short(second * SECOND));
    }
    let middle = LEFT + HALF + GAP / 2.0;
    svg.path(
        "break",
        &format!("M{:.1} {TOP:.1}V{:.1}M{:.1} {TOP:.1}V{1:.1}", middle - 3.0, TOP + HEIGHT + 4.0, middle + 3.0),
        None,
    );
    svg.text("end small name", (LEFT + HALF, TOP - 8.0), "up to 55 s: each power of ten as wide");
}

fn tick(svg: &mut Svg, x: f64, text: &str) {
    svg.line("axis", (x, TOP + HEIGHT), (x, TOP + HEIGHT + 4.0));
    svg.text("middle small", (x, TOP + HEIGHT + 15.0), text);
}

/// `10ms`, `1s`: without the digits that a measured time would have.
fn short(ns: u64) -> String {
    let units = [(SECOND, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (unit, name) = units.into_iter().find(|(unit, _)| ns >= *unit).unwrap_or((1, "ns"));
    format!("{}{name}", ns / unit)
}

fn told(bucket: &TimeBucket) -> String {
    let (from, number) = (duration(Some(bucket.from_ns)), count(bucket.count));
    match bucket.to_ns {
        Some(to_ns) => format!("{from} to {}: {number}", duration(Some(to_ns))),
        None => format!("{from} or more: {number}"),
    }
}
