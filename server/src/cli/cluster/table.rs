//! Rows of text under a heading, in columns as wide as what they hold.

/// The table: columns two blanks apart, no blanks at the end of a line.
pub(super) fn render<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let lines = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| lines().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in lines() {
        let cells = row.iter().zip(widths);
        let padded: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1", "leader"], ["1024", "-"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            render(["ID", "ROLE"], &rows),
            "ID    ROLE\n1     leader\n1024  -\n"
        );
    }
}
