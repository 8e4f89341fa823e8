//! Progress bars. On anything but a terminal they draw nothing.

use indicatif::{ProgressBar, ProgressStyle};

/// For work whose size is known in bytes; without a size, a count of what is done.
pub(crate) fn bytes(total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => {
            styled(ProgressBar::new(total), "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} to go  {msg}")
        }
        None => styled(ProgressBar::no_length(), "{spinner} {bytes}, {bytes_per_sec}  {msg}"),
    }
}

/// For work whose size is known in events.
pub(crate) fn events(total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{bar:30} {human_pos}/{human_len} events, {per_sec}, {eta} to go")
}

/// For work whose size is known in entries of the log.
pub(crate) fn entries(total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{bar:30} {human_pos}/{human_len} entries, {per_sec}, {eta} to go")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    // A template that cannot be read is a slip in this file; the plain style serves all the same.
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
