//! What sections are built of: pictures, tables, two pictures to switch between, the sentence that says how the numbers were got.

use maud::{Markup, PreEscaped, html};

use super::sockets;
use crate::view::{table::Column, units::magnitude};

/// A section; `got`: how its numbers were got.
pub fn section(id: &str, title: &str, content: Markup, got: &str) -> Markup {
    html! {
        section id=(id) {
            h2 { (title) }
            (content)
            @if !got.is_empty() { p.quiet { (got) } }
        }
    }
}

/// A picture; `name`: what it shows, for those who do not see it, and of which data it was drawn.
pub fn picture(name: &str, data: &str, drawn: Result<String, &'static str>) -> Markup {
    match drawn {
        Ok(svg) => html! {
            div.picture tabindex="0" role="group" aria-label=(name) data-picture=(data) { (PreEscaped(svg)) }
        },
        Err(why) => html! { p.quiet { (why) } },
    }
}

/// Two pictures of the same, one of which is seen; on paper, both. Where there is none, why is said once.
pub fn switch(id: &str, legend: &str, data: &str, pictures: [(&str, Result<String, &'static str>); 2]) -> Markup {
    let [(one, first), (other, second)] = pictures;
    if let (Err(why), _) | (_, Err(why)) = (&first, &second) {
        return html! { p.quiet { (why) } };
    }
    html! {
        fieldset.switch {
            legend { (legend) }
            input type="radio" name=(id) id={ (id) "-1" } checked;
            label for={ (id) "-1" } { (one) }
            input type="radio" name=(id) id={ (id) "-2" };
            label for={ (id) "-2" } { (other) }
            div.one { (picture(&format!("{legend}, {one}"), data, first)) }
            div.two { (picture(&format!("{legend}, {other}"), "", second)) }
        }
    }
}

/// A table that can be sorted; `none`: what is said instead of one without rows.
pub fn table(name: &str, columns: Vec<Column>, none: &str) -> Markup {
    let columns: Vec<Column> = columns.into_iter().filter(Column::has_values).collect();
    let rows = columns.iter().map(|column| column.cells().len()).max().unwrap_or_default();
    if rows == 0 {
        return html! { @if !none.is_empty() { p.quiet { (none) } } };
    }
    let class = |column: &Column| if column.is_number() { "number" } else { "" };
    html! {
        div.table tabindex="0" role="group" aria-label=(name) {
            table {
                thead { tr { @for column in &columns { th scope="col" class=(class(column)) { (column.header()) } } } }
                tbody {
                    @for row in 0..rows {
                        tr { @for column in &columns {
                            @let cell = column.cells().get(row).map_or("", String::as_str);
                            td class=(class(column)) data-value=[magnitude(cell).filter(|_| column.is_number())] { (cell) }
                        } }
                    }
                }
            }
        }
    }
}

/// Sentences, one below the other.
pub fn sentences(sentences: impl IntoIterator<Item = String>) -> Markup {
    html! { @for sentence in sentences { p { (sentence) } } }
}

/// What the colours of states are.
pub fn states_key() -> Markup {
    html! {
        ul.key {
            @for state in sockets::STACK {
                li { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(sockets::class(state)) width="10" height="10" {} } " " (state.name()) }
            }
        }
    }
}
