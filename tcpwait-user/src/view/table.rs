//! A table that never wraps: where the line is too short, columns are left out in the order that they state.

use crate::plain;

/// Text is not cut below this width.
const SHORTEST: usize = 3;

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    header: String,
    right: bool,
    /// 0 stays; else the highest is left out first.
    drop: u8,
    cells: Vec<String>,
}

impl Column {
    /// Text, which stands to the left.
    pub fn text(header: impl Into<String>, drop: u8, cells: Vec<String>) -> Self {
        Self { header: header.into(), right: false, drop, cells }
    }

    /// Numbers, which stand to the right.
    pub fn number(header: &str, drop: u8, cells: Vec<String>) -> Self {
        Self { header: header.to_owned(), right: true, drop, cells }
    }

    /// Whether anything is in it.
    pub fn has_values(&self) -> bool {
        self.cells.iter().any(|cell| !cell.is_empty())
    }

    /// What stands above it.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// What stands in it, from the first row on.
    pub fn cells(&self) -> &[String] {
        &self.cells
    }

    /// Whether it is numbers, which stand to the right.
    pub fn is_number(&self) -> bool {
        self.right
    }

    /// The same with these of its rows, in this order.
    #[must_use]
    pub fn with_rows(&self, rows: &[usize]) -> Self {
        self.with_cells(rows.iter().map(|row| self.cells.get(*row).cloned().unwrap_or_default()).collect())
    }

    /// The same with other rows.
    #[must_use]
    pub fn with_cells(&self, cells: Vec<String>) -> Self {
        Self { header: self.header.clone(), cells, ..*self }
    }

    fn shorten(&mut self, width: usize) {
        for cell in self.cells.iter_mut().chain([&mut self.header]) {
            // Marked as ps and top do: a port that lost a digit is another port.
            if plain::width(cell) > width {
                *cell = format!("{}+", plain::fitting(cell, width.saturating_sub(1)));
            }
        }
    }

    fn width(&self) -> usize {
        self.cells.iter().chain([&self.header]).map(|cell| plain::width(cell)).max().unwrap_or_default()
    }
}

/// The lines of a table at most `width` wide, header first. Of what cannot be left out, text is cut (`+`), and numbers only where
/// that is not enough.
pub fn lines(mut columns: Vec<Column>, width: usize) -> Vec<String> {
    let gap = 1;
    let wide =
        |columns: &[Column]| columns.iter().map(|column| column.width() + gap).sum::<usize>().saturating_sub(gap);
    while wide(&columns) > width {
        let Some(last) = columns.iter().map(|column| column.drop).max().filter(|drop| *drop > 0) else { break };
        columns.retain(|column| column.drop != last);
    }
    // A number that is cut is another number: text gives way, the widest first.
    while let Some(excess) = wide(&columns).checked_sub(width).filter(|excess| *excess > 0) {
        let widest = columns.iter_mut().filter(|column| !column.right && column.width() > SHORTEST);
        let Some(column) = widest.max_by_key(|column| column.width()) else { break };
        column.shorten(column.width().saturating_sub(excess).max(SHORTEST));
    }
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or_default();
    let line = |cell: &dyn Fn(&Column) -> String| {
        let mut line = String::new();
        for (index, column) in columns.iter().enumerate() {
            let (text, width) = (cell(column), column.width());
            if index > 0 {
                line.push(' ');
            }
            let blanks = " ".repeat(width.saturating_sub(plain::width(&text)));
            let (before, after) = if column.right { (blanks, String::new()) } else { (String::new(), blanks) };
            line.extend([before, text, after]);
        }
        plain::fitting(line.trim_end(), width).to_owned()
    };
    let header = line(&|column| column.header.clone());
    let body = (0..rows).map(|row| line(&|column| column.cells.get(row).cloned().unwrap_or_default()));
    std::iter::once(header).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::{Column, lines};

    fn columns() -> Vec<Column> {
        vec![
            Column::text("NAME", 0, vec!["a".to_owned(), "longer".to_owned()]),
            Column::number("COUNT", 1, vec!["1".to_owned(), "1,000".to_owned()]),
            Column::number("RATE", 2, vec!["0.1".to_owned(), "22".to_owned()]),
        ]
    }

    #[test]
    fn columns_are_left_out_in_their_order() {
        assert_eq!(lines(columns(), 80), ["NAME   COUNT RATE", "a          1  0.1", "longer 1,000   22"]);
        assert_eq!(lines(columns(), 16), ["NAME   COUNT", "a          1", "longer 1,000"]);
        assert_eq!(lines(columns(), 11), ["NAME", "a", "longer"]);
        assert_eq!(lines(columns(), 3), ["NA+", "a", "lo+"]);
        let needed = || {
            vec![Column::text("NAME", 0, vec!["longer".to_owned()]), Column::number("N", 0, vec!["1,000".to_owned()])]
        };
        assert_eq!(lines(needed(), 10), ["NAME     N", "lon+ 1,000"]);
    }

    /// What looks like one sign may take two columns.
    #[test]
    fn width_is_columns() {
        let wide = || {
            let names = ["汉字汉字", "plain", "😀😀"].map(str::to_owned).to_vec();
            vec![Column::text("NAME", 0, names), Column::number("N", 0, vec!["1".to_owned(); 3])]
        };
        assert_eq!(lines(wide(), 80), ["NAME     N", "汉字汉字 1", "plain    1", "😀😀     1"]);
        assert_eq!(lines(wide(), 7), ["NAME  N", "汉字+ 1", "plain 1", "😀😀  1"]);
    }
}
