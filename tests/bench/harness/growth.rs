//! The plot of growth: a connection's cost in the kernel, and a record's in user space, by the number of followed sockets; as SVG.

use std::fmt::Write as _;

use crate::followed::Row;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 40.0;

/// Both plots, one above the other. Sockets are on a logarithmic axis, nanoseconds on one from 0.
pub fn svg(rows: &[Row]) -> String {
    let points = |of: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().filter_map(|row| Some((row.there.filter(|there| *there > 0)? as f64, of(row)?))).collect()
    };
    let mut svg = String::new();
    let (width, height) = (WIDTH, 2.0 * HEIGHT);
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">"#
    );
    let _ = writeln!(svg, r#"<rect width="{width}" height="{height}" fill="white"/>"#);
    plot(&mut svg, 0.0, "in the kernel, ns per connection", &points(|row| row.kernel_ns_per_connection));
    plot(&mut svg, HEIGHT, "user side, ns of CPU per record", &points(|row| row.cpu_ns_per_record));
    svg.push_str("</svg>\n");
    svg
}

fn plot(svg: &mut String, offset: f64, title: &str, points: &[(f64, f64)]) {
    let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, offset + TOP, offset + HEIGHT - BOTTOM);
    let _ = writeln!(svg, r#"<text x="{left}" y="{:.0}" font-size="14">tcpwait stat: {title}</text>"#, top - 14.0);
    let _ = writeln!(svg, r#"<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="black"/>"#);
    let _ = writeln!(svg, r#"<text x="{right}" y="{:.0}" text-anchor="end">followed sockets</text>"#, bottom + 32.0);
    let exponents = points.iter().map(|(sockets, _)| sockets.log10());
    let least = exponents.clone().fold(f64::INFINITY, f64::min).floor();
    let span = (exponents.fold(f64::NEG_INFINITY, f64::max).ceil() - least).max(1.0);
    let most = points.iter().map(|(_, ns)| *ns).fold(0.0, f64::max) * 1.1;
    let x = |sockets: f64| left + (sockets.log10() - least) / span * (right - left);
    let y = |ns: f64| bottom - if most > 0.0 { ns / most * (bottom - top) } else { 0.0 };
    let mut path = String::new();
    for (sockets, ns) in points {
        let (x, y) = (x(*sockets), y(*ns));
        let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
        let _ = writeln!(svg, r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{ns:.0}</text>"#, y - 8.0);
        let _ = writeln!(svg, r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{sockets}</text>"#, bottom + 16.0);
    }
    if points.is_empty() {
        let _ = writeln!(svg, r#"<text x="{:.0}" y="{:.0}">not measured</text>"#, left + 10.0, bottom - 10.0);
    }
    let _ = writeln!(svg, r#"<path d="{path}" fill="none" stroke="black" stroke-dasharray="4 2"/>"#);
}
