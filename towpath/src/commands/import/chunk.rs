//! Lines in bounded chunks. Knows nothing of events.

use std::io::{self, BufRead, BufReader, Read};

/// What one chunk holds at most, so that the memory of an import does not depend on its input.
const LINES_MAX: usize = 2048;
const BYTES_MAX: usize = 4 << 20;
const READ_BYTES: usize = 1 << 20;

/// How much of the input lies before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) byte: u64,
    pub(super) line: u64,
}

/// Some whole lines.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) lines: Vec<Line>,
    /// Where the next chunk begins.
    pub(super) end: Position,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from one.
    pub(super) number: u64,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// Longer than a message may be; it was not kept.
    TooLong,
}

/// The chunks of an input.
pub(super) struct Chunks<R> {
    input: BufReader<R>,
    line_bytes_max: usize,
    position: Position,
}

impl<R: Read> Chunks<R> {
    /// `input` has been read up to `start` already.
    pub(super) fn new(input: R, start: Position, line_bytes_max: usize) -> Self {
        let input = BufReader::with_capacity(READ_BYTES, input);
        Self { input, line_bytes_max, position: start }
    }

    /// The next lines that say something; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < LINES_MAX && bytes < BYTES_MAX {
            let Some(line) = self.next_line()? else { break };
            if let Content::Bytes(content) = &line.content {
                // However many there are, they are not the end.
                if content.trim_ascii().is_empty() {
                    continue;
                }
                bytes += content.len();
            }
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        Ok(Some(Chunk { lines, end: self.position }))
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut content = Content::Bytes(Vec::new());
        let mut read = 0;
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..newline.unwrap_or(buffer.len())];
            content = content.and(part, self.line_bytes_max);
            let consumed = part.len() + usize::from(newline.is_some());
            self.input.consume(consumed);
            read += consumed as u64;
            if newline.is_some() || consumed == 0 {
                break;
            }
        }
        if read == 0 {
            return Ok(None);
        }
        self.position.byte += read;
        self.position.line += 1;
        Ok(Some(Line { number: self.position.line, content }))
    }
}

impl Content {
    fn and(self, part: &[u8], bytes_max: usize) -> Self {
        match self {
            Self::Bytes(mut bytes) if bytes.len() + part.len() <= bytes_max => {
                bytes.extend_from_slice(part);
                Self::Bytes(bytes)
            }
            _ => Self::TooLong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &str, line_bytes_max: usize) -> Vec<(u64, String)> {
        let mut chunks = Chunks::new(input.as_bytes(), Position::default(), line_bytes_max);
        let mut lines = Vec::new();
        while let Some(chunk) = chunks.next().expect("memory can be read") {
            lines.extend(chunk.lines.into_iter().map(|line| match line.content {
                Content::Bytes(bytes) => (line.number, String::from_utf8_lossy(&bytes).into_owned()),
                Content::TooLong => (line.number, "too long".to_owned()),
            }));
        }
        lines
    }

    #[test]
    fn empty_lines_count_but_are_left_out() {
        assert_eq!(lines("a\n\n \r\nb", 10), [(1, "a".to_owned()), (4, "b".to_owned())]);
        assert_eq!(lines("", 10), []);
        assert_eq!(lines("\n\n", 10), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_next_one_is_read() {
        let input = format!("{}\nok\n", "x".repeat(11));
        assert_eq!(lines(&input, 10), [(1, "too long".to_owned()), (2, "ok".to_owned())]);
    }

    #[test]
    fn a_chunk_ends_where_the_next_one_begins() {
        let input = "ab\n".repeat(LINES_MAX + 1);
        let mut chunks = Chunks::new(input.as_bytes(), Position::default(), 10);
        let first = chunks.next().expect("memory can be read").expect("a chunk");
        assert_eq!(first.end, Position { byte: 3 * LINES_MAX as u64, line: LINES_MAX as u64 });
        let second = chunks.next().expect("memory can be read").expect("a chunk");
        assert_eq!(second.lines.len(), 1);
        assert_eq!(second.lines[0].number, LINES_MAX as u64 + 1);
    }
}
