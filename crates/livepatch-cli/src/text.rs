//! Texts and tables for people.

use std::time::Duration;

use comfy_table::{Table, presets};
use livepatch::{TaskStatus, TransitionStatus};

/// Escapes control characters, which a terminal would interpret: names and messages come from the service.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Formats a table without borders, which other tools can split into columns.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| plain(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

pub(crate) fn transition(transition: &TransitionStatus) -> String {
    let tasks = match transition.tasks_left {
        0 => "held up by no task".to_owned(),
        1 => "held up by 1 task".to_owned(),
        tasks => format!("held up by {tasks} tasks"),
    };
    let unsettled = match transition.unsettled {
        0 => String::new(),
        some => format!(", and {some} that have executed no barrier since membarrier was denied"),
    };
    format!(
        "patch '{}' is in transition ({}) for {}, {tasks}{unsettled}",
        plain(&transition.patch),
        transition.direction,
        duration(transition.running)
    )
}

pub(crate) fn task(task: &TaskStatus) -> String {
    plain(&task.to_string())
}

pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

pub(crate) fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_obeyed() {
        assert_eq!(plain("größe \u{1b}[31m\n\u{9b}x"), "größe \\u{1b}[31m\\n\\u{9b}x");
    }

    #[test]
    fn tables_are_columns() {
        let rows = [["größe".to_owned(), "1".to_owned()], ["b\tc".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME   N\ngröße  1\nb\\tc");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration(Duration::from_millis(999)), "999 ms");
        assert_eq!(duration(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
    }
}
