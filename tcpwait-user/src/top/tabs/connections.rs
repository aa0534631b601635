//! Connections that ended and calls that failed, the newest first; and the life of one.

use std::sync::Arc;

use super::{fold_row, folded, worst};
use crate::{
    event::{Call, Task},
    lifecycle::Timing,
    plain,
    tcp::Flow,
    top::{
        look::Look,
        page::{Page, ScreenLine},
        sheet::{RowKey, Sheet},
        stories::{Happened, Life, LifeStep, Story},
    },
    view::{
        ViewContext,
        failure::{event, words},
        paint::Mark,
        table::Column,
        text::{mark, why},
        units::{at_least, count, duration, time_of_day},
    },
};

pub(super) fn page(look: Look<'_>, page: &mut Page) {
    page.lines(2, worst::first(look));
    page.table(3, sheet(look));
    let dropped = look.stories.dropped;
    if dropped > 0 {
        let note = format!(
            "{} older ones are not kept: of each kind, ended well or not, the last {}",
            count(dropped),
            crate::top::stories::KEPT
        );
        page.sentences(1, folded(&note, look.width));
    }
}

/// Rows around the chosen one, and at the top, whose cells are made where all of them would not be looked at.
const NEAR: usize = 150;

fn sheet(look: Look<'_>) -> Sheet {
    let stories = look.stories.until(look.snapshot.stories);
    let chosen = look.chosen.and_then(|key| key.0.parse::<u64>().ok());
    // The newest come first.
    let chosen = chosen.map(|number| stories.partition_point(|story| story.number > number));
    let is_near = |row: usize| look.all_rows || row < NEAR || chosen.is_some_and(|chosen| row.abs_diff(chosen) < NEAR);
    let column = |cell: &dyn Fn(&Story) -> String| {
        let cell = |(row, story): (usize, &&Arc<Story>)| if is_near(row) { cell(story) } else { String::new() };
        stories.iter().enumerate().map(cell).collect::<Vec<_>>()
    };
    let zone = look.zone;
    let names = look.context();
    Sheet {
        keys: stories.iter().map(|story| RowKey(story.number.to_string())).collect(),
        marks: stories.iter().map(|story| badness(story)).collect(),
        columns: vec![
            Column::text("TIME", 0, column(&|story| time_of_day(names.wall(time_ns(story)), zone))),
            Column::text("PROCESS", 0, column(&process)),
            Column::text("LOCAL", 1, column(&|story| local(flow(story), names))),
            Column::text("REMOTE", 0, column(&|story| remote(flow(story), names))),
            Column::text("WHAT", 0, column(&what)),
            Column::number("LASTED", 0, column(&lasted)),
            Column::text("WHY", 0, column(&reason)),
        ],
        has_others: false,
    }
}

fn time_ns(story: &Story) -> u64 {
    match &story.what {
        Happened::Ended(life) => life.last.time_ns,
        Happened::Failed(failure) => failure.time_ns,
    }
}

fn flow(story: &Story) -> &Flow {
    match &story.what {
        Happened::Ended(life) => &life.last.flow,
        Happened::Failed(failure) => &failure.flow,
    }
}

fn owner(story: &Story) -> Option<&Task> {
    match &story.what {
        Happened::Ended(life) => life.last.owner.as_deref().or(life.last.listener.as_deref()),
        Happened::Failed(failure) => failure.owner.as_deref(),
    }
}

fn process(story: &Story) -> String {
    owner(story).map_or_else(|| "-".to_owned(), |task| plain::column(&task.comm()))
}

fn local(flow: &Flow, context: ViewContext<'_>) -> String {
    plain::column(&context.names.endpoint(flow.laddr, flow.lport, flow.interface()))
}

/// bind() and listen() have no remote end.
fn remote(flow: &Flow, context: ViewContext<'_>) -> String {
    if flow.rport == 0 { "-".to_owned() } else { plain::column(&context.names.endpoint(flow.raddr, flow.rport, None)) }
}

fn what(story: &Story) -> String {
    match &story.what {
        Happened::Ended(life) => life.last.from.map_or("?", |from| from.name()).to_owned(),
        Happened::Failed(failure) => event(failure.call).to_owned(),
    }
}

fn reason(story: &Story) -> String {
    match &story.what {
        Happened::Ended(life) => why(&life.last).unwrap_or_default(),
        Happened::Failed(failure) => words(failure),
    }
}

fn badness(story: &Story) -> Mark {
    match &story.what {
        Happened::Ended(life) => mark(life.last.reason),
        Happened::Failed(_) => Mark::Failure,
    }
}

/// How long a connection was there: all that is known of its states, at least where that is not all.
fn lasted(story: &Story) -> String {
    let Happened::Ended(life) = &story.what else { return "-".to_owned() };
    let known: Vec<u64> = life.steps().filter_map(|step| step.dwell_ns.or(step.at_least_ns)).collect();
    if known.is_empty() {
        return "-".to_owned();
    }
    let sum = Some(known.iter().fold(0u64, |sum, ns| sum.saturating_add(*ns)));
    let is_all = life.is_whole && !life.last.predates && life.steps().all(|step| step.dwell_ns.is_some());
    if is_all { duration(sum) } else { at_least(sum) }
}

/// One connection: its states, each with its time and how exactly that is known.
pub(super) fn life(look: Look<'_>, key: &RowKey) -> Option<Vec<ScreenLine>> {
    let story = look.stories.get(key.0.parse().ok()?)?;
    let (context, width) = (look.context(), look.width);
    let flow = flow(story);
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| lines.extend(fold_row(&format!("{name:<10} {value}"), width, 11));
    say("TIME", time_of_day(context.wall(time_ns(story)), look.zone));
    say("LOCAL", local(flow, context));
    say("REMOTE", remote(flow, context));
    say(
        "PROCESS",
        owner(story).map_or_else(
            || "unknown".to_owned(),
            |task| format!("{}({}), uid {}", plain::column(&task.comm()), task.pid, task.uid),
        ),
    );
    if let Some(cgroup) = owner(story).and_then(|task| context.names.cgroup(task.cgroup)) {
        say("CGROUP", plain::column(cgroup));
    }
    if let Some(pod) = owner(story).and_then(|task| context.names.pod(task.cgroup)) {
        say("POD", plain::column(&pod.to_string()));
    }
    say("NETNS", plain::column(&context.names.netns(flow.netns)));
    say(
        "MADE BY",
        match made_here(story) {
            Some(true) => "connect() on this side".to_owned(),
            Some(false) => "the peer; accepted here".to_owned(),
            None => "unknown which side".to_owned(),
        },
    );
    say("WHAT", what(story));
    say("WHY", reason(story));
    if let Happened::Ended(life) = &story.what {
        lines.push(ScreenLine::plain(""));
        lines.extend(states(look, life));
    }
    Some(lines)
}

fn made_here(story: &Story) -> Option<bool> {
    match &story.what {
        Happened::Ended(life) => life.last.origin.made_here(),
        Happened::Failed(failure) => (failure.call == Call::Connect).then_some(true),
    }
}

fn states(look: Look<'_>, life: &Life) -> Vec<ScreenLine> {
    let (context, width) = (look.context(), look.width);
    let steps: Vec<LifeStep> = life.steps().collect();
    let column = |cell: &dyn Fn(&LifeStep) -> String| steps.iter().map(cell).collect::<Vec<_>>();
    let longest = steps.iter().filter_map(|step| step.dwell_ns.or(step.at_least_ns)).max().unwrap_or_default();
    let bar = |step: &LifeStep| {
        let ns = step.dwell_ns.or(step.at_least_ns).unwrap_or_default();
        look.theme.count_bar(ns, longest, 20)
    };
    let time = |step: &LifeStep| match (step.dwell_ns, step.at_least_ns) {
        (None, Some(ns)) => at_least(Some(ns)),
        (ns, _) => duration(ns),
    };
    let columns = vec![
        Column::text("STATE", 0, column(&|step| step.state.map_or("?", |state| state.name()).to_owned())),
        Column::number("TOOK", 0, column(&time)),
        Column::text("HOW EXACT", 1, column(&|step| exact(step).to_owned())),
        Column::text("UNTIL", 2, column(&|step| time_of_day(context.wall(step.time_ns), look.zone))),
        Column::text("", 3, column(&bar)),
    ];
    let mut lines: Vec<ScreenLine> =
        crate::view::table::lines(columns, width).into_iter().map(ScreenLine::plain).collect();
    if let Some(first) = lines.first_mut() {
        *first = ScreenLine::title(std::mem::take(&mut first.text));
    }
    if !life.is_whole {
        let why = "earlier states are not known: a filter left them out, events were lost, or there were too many to keep those of each connection";
        lines.extend(folded(why, width).into_iter().map(ScreenLine::plain));
    } else if life.last.predates {
        let why = "the connection is older than this trace: what it did before was not seen";
        lines.extend(folded(why, width).into_iter().map(ScreenLine::plain));
    }
    lines
}

/// How exactly a time is known.
fn exact(step: &LifeStep) -> &'static str {
    match (step.dwell_ns, step.at_least_ns, step.timing) {
        (Some(_), _, Timing::Exact) => "exact",
        (Some(_), _, Timing::Jiffy) => "to a jiffy",
        (Some(_), _, Timing::Unknown) => "unknown",
        (None, Some(_), _) => "at least",
        (None, None, _) => "not known",
    }
}
