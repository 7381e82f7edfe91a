//! Columns as Docker aligns them: at least ten wide with three spaces between. Knows only text.

/// Least width of a column, its gap included.
const LEAST: usize = 10;
/// Spaces after the longest cell.
const GAP: usize = 3;

/// Rows of text, aligned.
#[derive(Default, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head.
    pub fn new(head: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(head.iter().copied());
        table
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text, each row ended by a newline; the last cell of a row is not padded.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                (longest + GAP).max(LEAST)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                text.push_str(cell);
                if index + 1 < row.len() {
                    let used = cell.chars().count();
                    text.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n03_docker_widths() {
        let mut table = Table::new(&["NETWORK ID", "NAME", "DRIVER", "SCOPE"]);
        table.row(["0123456789ab", "bridge", "bridge", "local"]);
        table.row(["ba9876543210", "a-longer-name", "null", "local"]);
        let wanted = "\
NETWORK ID     NAME            DRIVER    SCOPE
0123456789ab   bridge          bridge    local
ba9876543210   a-longer-name   null      local
";
        assert_eq!(table.render(), wanted);
        assert_eq!(Table::default().render(), "");
    }
}
