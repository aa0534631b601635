//! Pictures as SVG: shapes with classes, whose colours a style sheet decides, and text. Numbers have one digit behind the point, so that the same picture is
//! the same text everywhere.

use std::fmt::Write as _;

/// A picture.
#[derive(Debug)]
pub struct Svg {
    id: &'static str,
    width: f64,
    height: f64,
    label: String,
    body: String,
}

impl Svg {
    /// An empty one of this name on the page and this size; `label`: what it shows, for those who do not see it.
    pub fn new(id: &'static str, (width, height): (f64, f64), label: impl Into<String>) -> Self {
        Self { id, width, height, label: label.into(), body: String::new() }
    }

    /// From here on it is in an area of its own, whose places are from (0, 0) to its size: the script shows a part of it by another `viewBox`, so that
    /// it may hold no text.
    pub fn begin_plot(&mut self, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<svg class="plot" x="{x:.0}" y="{y:.0}" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" preserveAspectRatio="none">"#
        );
    }

    /// The area ends.
    pub fn end_plot(&mut self) {
        self.body.push_str("</svg>");
    }

    /// From here on shapes are of a group, which the script finds by its class.
    pub fn begin_group(&mut self, class: &str, data: &str) {
        let _ = write!(self.body, r#"<g class="{class}"{data}>"#);
    }

    /// The group ends.
    pub fn end_group(&mut self) {
        self.body.push_str("</g>");
    }

    /// How what is hatched looks in this picture.
    pub fn define_hatch(&mut self) {
        let _ = write!(
            self.body,
            r#"<defs><pattern id="hatch-{}" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-ground" width="8" height="8"/><rect class="hatch-line" width="3" height="8"/></pattern></defs>"#,
            self.id
        );
    }

    /// A hatched rectangle.
    pub fn hatched(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), told: &str) {
        let _ = write!(
            self.body,
            r#"<rect class="lost" fill="url(#hatch-{})" x="{x:.2}" y="{y:.1}" width="{width:.2}" height="{height:.1}""#,
            self.id
        );
        self.close("rect", Some(told));
    }

    /// A rectangle, with what is told of it when it is pointed at.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), told: Option<&str>) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.2}" y="{y:.1}" width="{:.2}" height="{:.1}""#,
            width.max(0.0),
            height.max(0.0)
        );
        self.close("rect", told);
    }

    /// A path.
    pub fn path(&mut self, class: &str, path: &str, told: Option<&str>) {
        let _ = write!(self.body, r#"<path class="{class}" d="{path}""#);
        self.close("path", told);
    }

    /// How the head of an arrow looks in this picture.
    pub fn define_arrow(&mut self) {
        let _ = write!(
            self.body,
            r#"<defs><marker id="arrow-{}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path class="arrow" d="M0 0L8 4L0 8Z"/></marker></defs>"#,
            self.id
        );
    }

    /// An arrow as wide as this.
    pub fn arrow(&mut self, path: &str, width: f64, told: &str) {
        let id = self.id;
        let _ = write!(
            self.body,
            r#"<path class="edge" d="{path}" stroke-width="{width:.1}" marker-end="url(#arrow-{id})""#
        );
        self.close("path", Some(told));
    }

    /// A line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Text that begins, is in the middle (class `middle`) or ends (class `end`) there.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let _ = write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(text));
    }

    fn close(&mut self, element: &str, told: Option<&str>) {
        let _ = match told {
            Some(told) => write!(self.body, "><title>{}</title></{element}>", escaped(told)),
            None => write!(self.body, "/>"),
        };
    }

    /// All of it.
    pub fn finish(self) -> String {
        let Self { id, width, height, label, body } = self;
        let label = escaped(&label);
        format!(
            r#"<svg id="picture-{id}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg">{body}</svg>"#
        )
    }
}

/// Text in which nothing is markup, and nothing that XML does not know.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut svg = Svg::new("test", (10.0, 10.0), "\"><script>");
        svg.text("a", (1.0, 2.0), "</text><script>alert('x')</script>\u{1b}");
        svg.rect("b", (0.0, 0.0), (1.0, -1.0), Some("</title>&"));
        let svg = svg.finish();
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
        assert!(svg.contains("&lt;/title&gt;&amp;") && svg.contains(r#"height="0.0""#), "{svg}");
    }
}
