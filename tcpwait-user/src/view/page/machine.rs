//! The state machine as RFC 9293 draws it (figure 5), with what was counted on its edges. CLOSED, which the kernel calls CLOSE, stands at the top, where
//! connections begin, and at the bottom, where they end. Ends that the RFC does not draw, by a reset or for want of an answer, are short arrows.

use super::{frame::WIDTH, sockets::class, svg::Svg};
use crate::{
    aggregate::report::{StatReport, TransitionRow},
    tcp::State,
    view::units::{count, duration, rate},
};

const HEIGHT: f64 = 632.0;
const NODE: (f64, f64) = (190.0, 46.0);

/// Where the middle of a state is; `below`: of CLOSE, the one at the end.
fn place(state: State, below: bool) -> (f64, f64) {
    match state {
        State::Close if below => (770.0, 600.0),
        State::Close => (480.0, 34.0),
        State::Listen => (480.0, 130.0),
        State::SynRecv => (190.0, 225.0),
        State::SynSent => (770.0, 225.0),
        State::Established => (480.0, 310.0),
        State::FinWait1 => (190.0, 400.0),
        State::CloseWait => (770.0, 400.0),
        State::FinWait2 => (190.0, 500.0),
        State::Closing => (480.0, 500.0),
        State::LastAck => (770.0, 500.0),
        State::TimeWait => (430.0, 600.0),
    }
}

/// Where its number stands.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    Begin,
    Middle,
    End,
}

/// How an edge goes.
struct Way {
    from: State,
    to: State,
    path: &'static str,
    label: (f64, f64),
    anchor: Anchor,
}

const fn way(from: State, to: State, path: &'static str, label: (f64, f64), anchor: Anchor) -> Way {
    Way { from, to, path, label, anchor }
}

const WAYS: [Way; 25] = [
    way(State::Close, State::Listen, "M440 57V107", (434.0, 86.0), Anchor::End),
    way(State::Listen, State::Close, "M520 107V57", (526.0, 86.0), Anchor::Begin),
    way(State::Close, State::SynSent, "M575 26Q800 40 810 202", (764.0, 92.0), Anchor::Begin),
    way(State::SynSent, State::Close, "M740 202Q720 80 575 44", (670.0, 122.0), Anchor::Middle),
    way(State::Listen, State::SynRecv, "M385 130Q240 140 200 202", (262.0, 150.0), Anchor::Middle),
    way(State::SynSent, State::SynRecv, "M675 225H285", (480.0, 219.0), Anchor::Middle),
    way(State::SynSent, State::Established, "M740 248L575 297", (660.0, 274.0), Anchor::Middle),
    way(State::SynRecv, State::Established, "M220 248L385 297", (300.0, 274.0), Anchor::Middle),
    way(State::SynRecv, State::FinWait1, "M160 248V377", (154.0, 316.0), Anchor::End),
    way(State::Established, State::FinWait1, "M400 333L262 377", (330.0, 358.0), Anchor::Middle),
    way(State::Established, State::CloseWait, "M560 333L698 377", (630.0, 358.0), Anchor::Middle),
    way(State::FinWait1, State::FinWait2, "M160 423V477", (154.0, 454.0), Anchor::End),
    way(State::FinWait1, State::Closing, "M250 423L420 477", (335.0, 453.0), Anchor::Middle),
    way(
        State::FinWait1,
        State::TimeWait,
        "M285 402C520 402 640 430 610 510Q596 560 525 586",
        (616.0, 462.0),
        Anchor::Begin,
    ),
    way(State::FinWait2, State::TimeWait, "M190 523Q200 596 335 602", (236.0, 580.0), Anchor::Middle),
    way(State::Closing, State::TimeWait, "M450 523V577", (444.0, 553.0), Anchor::End),
    way(State::CloseWait, State::LastAck, "M770 423V477", (776.0, 454.0), Anchor::Begin),
    way(State::LastAck, State::Close, "M770 523V577", (776.0, 554.0), Anchor::Begin),
    way(State::TimeWait, State::Close, "M525 606H675", (600.0, 620.0), Anchor::Middle),
    way(State::SynRecv, State::Close, "M95 240H62", (4.0, 262.0), Anchor::Begin),
    way(State::Established, State::Close, "M480 333V358", (480.0, 371.0), Anchor::Middle),
    way(State::FinWait1, State::Close, "M95 415H62", (4.0, 437.0), Anchor::Begin),
    way(State::FinWait2, State::Close, "M95 515H62", (4.0, 537.0), Anchor::Begin),
    way(State::Closing, State::Close, "M385 515H352", (380.0, 536.0), Anchor::End),
    way(State::CloseWait, State::Close, "M865 415H898", (956.0, 437.0), Anchor::End),
];

/// Steps from one state to another.
#[derive(Clone, Debug)]
pub struct MachineEdge {
    /// From.
    pub from: State,
    /// To.
    pub to: State,
    /// How many: the more, the wider.
    pub number: u64,
    /// What stands beside it.
    pub text: String,
    /// Whether that is in bold.
    pub is_strong: bool,
}

/// The picture of a report, or why there is none.
pub fn picture(report: &StatReport) -> Result<String, &'static str> {
    let seconds = report.end_ns.saturating_sub(report.begin_ns) as f64 / 1e9;
    let edges: Vec<MachineEdge> = report
        .transitions
        .iter()
        .filter_map(|row| {
            let number = number(row);
            let a_second = (seconds > 0.0).then(|| format!(" ({}/s)", rate(Some(number as f64 / seconds))));
            let text = format!("{}{}", count(number), a_second.unwrap_or_default());
            // What came before was not seen: there is no edge for it.
            Some(MachineEdge { from: row.from?, to: row.to, number, text, is_strong: false })
        })
        .collect();
    let nodes = |state: State| {
        let row = report.states.iter().find(|row| row.state == state).filter(|_| state != State::Close);
        let now = row.and_then(|row| row.now).filter(|now| *now > 0).map(|now| format!("now {}", count(now)));
        let times = row.and_then(|row| row.dwell.p50_ns.map(|p50_ns| (p50_ns, row.dwell.p99_ns)));
        let times = times.map(|(p50, p99)| format!("median {}, P99 {}", duration(Some(p50)), duration(p99)));
        [times, now].into_iter().flatten().collect()
    };
    draw("The TCP state machine, with how often each step was taken", &edges, &nodes)
}

/// The state machine with these edges; `nodes`: what stands in a state below its name.
pub fn draw(label: &str, edges: &[MachineEdge], nodes: &dyn Fn(State) -> Vec<String>) -> Result<String, &'static str> {
    let edges: Vec<&MachineEdge> = edges.iter().filter(|edge| edge.number > 0).collect();
    if edges.is_empty() {
        return Err("No connection took a step.");
    }
    let mut svg = Svg::new("machine", (WIDTH, HEIGHT), label);
    svg.define_arrow();
    edges.iter().for_each(|each| edge(&mut svg, each));
    let is_there = |state: State| edges.iter().any(|edge| edge.to == state || edge.from == state);
    for state in State::ALL.into_iter().filter(|state| is_there(*state) || *state == State::TimeWait) {
        node(&mut svg, state, false, nodes(state));
    }
    if edges.iter().any(|edge| edge.to == State::Close && matches!(edge.from, State::TimeWait | State::LastAck)) {
        node(&mut svg, State::Close, true, nodes(State::Close));
    }
    Ok(svg.finish())
}

/// How often: what the kernel side counted may be more than was seen.
fn number(row: &TransitionRow) -> u64 {
    row.kernel.unwrap_or(row.count).max(row.count)
}

fn edge(svg: &mut Svg, edge: &MachineEdge) {
    let MachineEdge { from, to, number, text, is_strong } = edge;
    let width = 1.0 + ((*number).max(1) as f64).log10() / 2.0;
    let told = format!("{from} to {to}: {text}");
    let strong = if *is_strong { " strong" } else { "" };
    match WAYS.iter().find(|way| way.from == *from && way.to == *to) {
        Some(way) => {
            svg.arrow(way.path, width, &told);
            svg.text(&format!("small edge-count{}{strong}", anchor(way.anchor)), way.label, text);
        }
        // What the RFC knows nothing of goes straight there.
        None => {
            let ((x1, y1), (x2, y2)) = (place(*from, false), place(*to, true));
            let middle = (f64::midpoint(x1, x2), f64::midpoint(y1, y2));
            svg.arrow(&format!("M{x1:.0} {y1:.0}L{x2:.0} {y2:.0}"), width, &told);
            svg.text(&format!("small edge-count middle{strong}"), (middle.0, middle.1 + 4.0), text);
        }
    }
}

fn anchor(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Begin => "",
        Anchor::Middle => " middle",
        Anchor::End => " end",
    }
}

fn node(svg: &mut Svg, state: State, below: bool, lines: Vec<String>) {
    let (x, y) = place(state, below);
    let (width, height) = NODE;
    svg.rect("node", (x - width / 2.0, y - height / 2.0), (width, height), None);
    svg.rect(&class(state), (x - width / 2.0, y - height / 2.0), (6.0, height), None);
    let lines: Vec<(&str, String)> = std::iter::once(("middle strong", state.name().to_owned()))
        .chain(lines.into_iter().map(|text| ("middle small", text)))
        .collect();
    let first = y + 4.0 - 6.5 * (lines.len() - 1) as f64;
    for (index, (class, text)) in lines.iter().enumerate() {
        svg.text(class, (x, first + 13.0 * index as f64), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left, top, right, bottom.
    type Area = (f64, f64, f64, f64);

    /// What `1,234,567 (12,345/s)` takes in letters of 10 pixels.
    const LABEL: f64 = 106.0;

    fn is_apart(one: &Area, other: &Area) -> bool {
        one.2 <= other.0 || other.2 <= one.0 || one.3 <= other.1 || other.3 <= one.1
    }

    #[test]
    fn no_label_lies_on_another_or_on_a_state() {
        let labels: Vec<(String, Area)> = WAYS
            .iter()
            .map(|way| {
                let (x, y) = way.label;
                let left = match way.anchor {
                    Anchor::Begin => x,
                    Anchor::Middle => x - LABEL / 2.0,
                    Anchor::End => x - LABEL,
                };
                (format!("{} to {}", way.from, way.to), (left, y - 9.0, left + LABEL, y + 3.0))
            })
            .collect();
        let places = State::ALL.into_iter().map(|state| (state, false)).chain([(State::Close, true)]);
        let nodes = places.map(|(state, below)| {
            let (x, y) = place(state, below);
            (state.to_string(), (x - NODE.0 / 2.0, y - NODE.1 / 2.0, x + NODE.0 / 2.0, y + NODE.1 / 2.0))
        });
        let all: Vec<(String, Area)> = labels.iter().cloned().chain(nodes).collect();
        for (index, (name, area)) in labels.iter().enumerate() {
            assert!(area.0 >= 0.0 && area.2 <= WIDTH && area.3 <= HEIGHT, "{name} is cut: {area:?}");
            let others = all.iter().enumerate().filter(|(other, _)| *other != index);
            for (_, (other, there)) in others {
                assert!(is_apart(area, there), "{name} lies on {other}");
            }
        }
    }
}
