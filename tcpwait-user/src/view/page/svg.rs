//! Pictures as SVG: shapes with classes, whose colours a style sheet decides, and text. Numbers have one digit behind the point, so that the same picture is
//! the same text everywhere.

use std::fmt::Write as _;

/// A picture.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

impl Svg {
    /// An empty one of this size; `label`: what it shows, for those who do not see it.
    pub fn new(width: f64, height: f64, label: impl Into<String>) -> Self {
        Self { width, height, label: label.into(), body: String::new() }
    }

    /// A rectangle, with what is told of it when it is pointed at.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), told: Option<&str>) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}""#,
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

    /// The same as wide as this.
    pub fn path_of_width(&mut self, class: &str, path: &str, width: f64, told: Option<&str>) {
        let _ = write!(self.body, r#"<path class="{class}" d="{path}" stroke-width="{width:.1}""#);
        self.close("path", told);
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
        let Self { width, height, label, body } = self;
        let label = escaped(&label);
        format!(
            r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg">{body}</svg>"#
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
        let mut svg = Svg::new(10.0, 10.0, "\"><script>");
        svg.text("a", (1.0, 2.0), "</text><script>alert('x')</script>\u{1b}");
        svg.rect("b", (0.0, 0.0), (1.0, -1.0), Some("</title>&"));
        let svg = svg.finish();
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
        assert!(svg.contains("&lt;/title&gt;&amp;") && svg.contains(r#"height="0.0""#), "{svg}");
    }
}
