//! A table with rows that can be chosen: filtered by words, sorted by what is seen, and for a while kept where it is.

use hashbrown::{HashMap, HashSet};

use crate::view::{paint::Mark, table::Column, units::magnitude};

/// What a row is known by, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowKey(pub String);

/// A table whose rows are known by a key.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// What each row is known by.
    pub keys: Vec<RowKey>,
    /// How bad it is what each row says.
    pub marks: Vec<Mark>,
    /// The columns.
    pub columns: Vec<Column>,
    /// Whether the last row stands for all others, and stays last.
    pub has_others: bool,
}

/// Rows in the order in which they stood, and what stood in them.
#[derive(Clone, Debug)]
pub struct Held {
    rows: Vec<HeldRow>,
}

/// What a row is known by, and what stood in it.
type HeldRow = (RowKey, Vec<String>);

/// What stands in columns of numbers of a row that is there no more.
const GONE: &str = "-";

impl Sheet {
    /// Without rows that lack one of the words.
    #[must_use]
    pub fn filtered(self, filter: &str) -> Self {
        if filter.trim().is_empty() {
            return self;
        }
        let words: Vec<&str> = filter.split_whitespace().collect();
        let keep: Vec<usize> =
            (0..self.keys.len()).filter(|row| words.iter().all(|word| self.has(*row, word))).collect();
        let has_others = self.has_others && keep.last() == Some(&(self.keys.len() - 1));
        Self { has_others, ..self.picked(&keep) }
    }

    fn has(&self, row: usize, word: &str) -> bool {
        if let Some(word) = word.strip_prefix('!').filter(|word| !word.is_empty()) {
            return !self.has(row, word);
        }
        let cell = |column: &Column| column.cells().get(row).map(|cell| cell.to_lowercase()).unwrap_or_default();
        let word = word.to_lowercase();
        match word.split_once('=') {
            Some((name, value)) => {
                let named = |column: &&Column| column.header().to_lowercase().starts_with(name);
                self.columns.iter().filter(named).any(|column| cell(column).contains(value))
            }
            None => self.columns.iter().any(|column| cell(column).contains(&word)),
        }
    }

    /// Sorted by the column with this name: numbers the greatest first, text from A on; or the other way round.
    #[must_use]
    pub fn sorted(self, by: Option<&str>, reversed: bool) -> Self {
        let Some(column) = by.and_then(|by| self.columns.iter().find(|column| column.header() == by)) else {
            return self;
        };
        let rows = self.keys.len() - usize::from(self.has_others);
        let mut order: Vec<usize> = (0..rows).collect();
        let cell = |row: &usize| column.cells().get(*row).map_or("", String::as_str);
        if column.is_number() {
            // What is not known comes last.
            let value = |row: &usize| magnitude(cell(row)).unwrap_or(f64::NEG_INFINITY);
            order.sort_by(|a, b| value(b).total_cmp(&value(a)));
        } else {
            order.sort_by(|a, b| cell(a).cmp(cell(b)));
        }
        if reversed {
            order.reverse();
        }
        order.extend(self.has_others.then_some(rows));
        self.picked(&order)
    }

    /// What there is now, in the order of before. What is new comes last, what is gone keeps its row.
    #[must_use]
    pub fn held(self, held: &Held) -> Self {
        let places: HashMap<&RowKey, usize> = self.keys.iter().enumerate().map(|(row, key)| (key, row)).collect();
        let known: HashSet<&RowKey> = held.rows.iter().map(|(key, _)| key).collect();
        let place = |key: &RowKey| places.get(key).copied();
        let is_new = |row: &usize| self.keys.get(*row).is_some_and(|key| !known.contains(key));
        let old: Vec<(Option<usize>, &HeldRow)> = held.rows.iter().map(|row| (place(&row.0), row)).collect();
        let new: Vec<usize> = (0..self.keys.len()).filter(is_new).collect();
        let column = |(at, column): (usize, &Column)| {
            let cell = |row: usize| column.cells().get(row).cloned().unwrap_or_default();
            let gone = |row: &[String]| match column.is_number() {
                true => GONE.to_owned(),
                false => row.get(at).cloned().unwrap_or_default(),
            };
            let old = old.iter().map(|(place, (_, cells))| place.map_or_else(|| gone(cells), cell));
            column.with_cells(old.chain(new.iter().map(|row| cell(*row))).collect())
        };
        let mark = |row: usize| self.marks.get(row).copied().unwrap_or(Mark::Plain);
        Self {
            columns: self.columns.iter().enumerate().map(column).collect(),
            marks: old
                .iter()
                .map(|(place, _)| place.map_or(Mark::Plain, mark))
                .chain(new.iter().map(|row| mark(*row)))
                .collect(),
            keys: old
                .iter()
                .map(|(_, (key, _))| key.clone())
                .chain(new.iter().filter_map(|row| self.keys.get(*row).cloned()))
                .collect(),
            has_others: false,
        }
    }

    /// As it stands now.
    pub fn hold(&self) -> Held {
        let row = |(row, key): (usize, &RowKey)| (key.clone(), self.row(row));
        Held { rows: self.keys.iter().enumerate().map(row).collect() }
    }

    /// What stands in a row, column by column.
    pub fn row(&self, row: usize) -> Vec<String> {
        self.columns.iter().map(|column| column.cells().get(row).cloned().unwrap_or_default()).collect()
    }

    /// Where the row with this key stands.
    pub fn place(&self, key: &RowKey) -> Option<usize> {
        self.keys.iter().position(|other| other == key)
    }

    fn picked(&self, rows: &[usize]) -> Self {
        Self {
            keys: rows.iter().filter_map(|row| self.keys.get(*row).cloned()).collect(),
            marks: rows.iter().filter_map(|row| self.marks.get(*row).copied()).collect(),
            columns: self.columns.iter().map(|column| column.with_rows(rows)).collect(),
            has_others: self.has_others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, RowKey, Sheet};
    use crate::view::table::Column;

    fn sheet(rows: &[(&str, &str)]) -> Sheet {
        let cells = |pick: fn(&(&str, &str)) -> String| rows.iter().map(pick).collect::<Vec<_>>();
        Sheet {
            keys: rows.iter().map(|(name, _)| RowKey((*name).to_owned())).collect(),
            marks: vec![Mark::Plain; rows.len()],
            columns: vec![
                Column::text("PROCESS", 0, cells(|row| row.0.to_owned())),
                Column::number("NOW", 0, cells(|row| row.1.to_owned())),
            ],
            has_others: true,
        }
    }

    fn names(sheet: &Sheet) -> Vec<&str> {
        sheet.keys.iter().map(|key| key.0.as_str()).collect()
    }

    #[test]
    fn rows_are_filtered_by_words_and_columns() {
        let sheet = || sheet(&[("nginx", "5"), ("ab", "1,500"), ("other", "15")]);
        assert_eq!(names(&sheet().filtered("NGI")), ["nginx"]);
        assert_eq!(names(&sheet().filtered("process=a")), ["ab"]);
        assert_eq!(names(&sheet().filtered("!nginx 5")), ["ab", "other"]);
        assert_eq!(names(&sheet().filtered("now=nginx")), [""; 0]);
        assert_eq!(names(&sheet().filtered(" ! ")), [""; 0], "a sign of its own is looked for");
    }

    #[test]
    fn rows_are_sorted_by_what_is_seen() {
        let sheet = || sheet(&[("nginx", "5"), ("ab", "1,500"), ("c", "-"), ("other", "9,999")]);
        assert_eq!(names(&sheet().sorted(Some("NOW"), false)), ["ab", "nginx", "c", "other"]);
        assert_eq!(names(&sheet().sorted(Some("NOW"), true)), ["c", "nginx", "ab", "other"]);
        assert_eq!(names(&sheet().sorted(Some("PROCESS"), false)), ["ab", "c", "nginx", "other"]);
        assert_eq!(names(&sheet().sorted(Some("GONE"), false)), ["nginx", "ab", "c", "other"]);
    }

    #[test]
    fn rows_that_are_held_stay_where_they_are() {
        let held = sheet(&[("a", "1"), ("b", "2"), ("c", "3")]).hold();
        let now = sheet(&[("c", "9"), ("new", "8"), ("a", "7")]).held(&held);
        assert_eq!(names(&now), ["a", "b", "c", "new"]);
        assert_eq!([now.row(0), now.row(1), now.row(2)], [["a", "7"], ["b", "-"], ["c", "9"]]);
    }
}
