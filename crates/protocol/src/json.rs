//! A borrowed, non-recursive JSON scanner (RFC 8259) and the canonical string form of NIP-01.
//!
//! Owns: tokens, their validity, and how a string is written back. Must not know what an event or a filter is.
//! It exists because the relay needs two things no general parser gives at once: spans of the client's own text, so that
//! an event's strings are copied once, and re-escaping into the one form that ids are computed over.

use std::borrow::Cow;

/// Nesting that skipped, unknown values may have. Known values are at most three deep.
const DEPTH_MAX: u32 = 64;

/// So many digits are no more than an `i64` holds.
const DIGITS_MAX: usize = 18;

/// Why a text is not the JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text ended inside a value.
    #[error("unexpected end of JSON")]
    End,
    /// A character that cannot stand here; its byte offset.
    #[error("unexpected character at byte {0}")]
    Unexpected(usize),
    /// A raw control character inside a string (RFC 8259, section 7).
    #[error("raw control character in a string at byte {0}")]
    ControlCharacter(usize),
    /// An escape that is unknown or not a Unicode scalar value, such as a lone surrogate.
    #[error("bad escape in a string")]
    BadEscape,
    /// A number that is not an integer of the expected range.
    #[error("not an integer at byte {0}")]
    NotAnInteger(usize),
    /// Nested too deeply.
    #[error("nested more than 64 deep")]
    TooDeep,
}

/// A string token: the text between its quotes, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonStr<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> JsonStr<'a> {
    /// The characters it stands for; borrowed unless it holds escapes.
    pub fn decode(&self) -> Result<Cow<'a, str>, JsonError> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut out = String::with_capacity(self.raw.len());
        self.for_each_char(|c| out.push(c))?;
        Ok(Cow::Owned(out))
    }

    /// Appends it, quoted, in canonical form, and says how many characters it stands for.
    pub(crate) fn push_canonical(&self, out: &mut String) -> Result<usize, JsonError> {
        out.push('"');
        let chars = if self.escaped {
            let mut chars = 0;
            self.for_each_char(|c| {
                push_canonical_char(c, out);
                chars += 1;
            })?;
            chars
        } else {
            out.push_str(self.raw);
            count_chars(self.raw)
        };
        out.push('"');
        Ok(chars)
    }

    /// The text as sent, when it holds no escape.
    pub(crate) fn plain(&self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    fn for_each_char(&self, mut each: impl FnMut(char)) -> Result<(), JsonError> {
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            rest[..at].chars().for_each(&mut each);
            let (c, used) = decode_escape(&rest[at..])?;
            each(c);
            rest = &rest[at + used..];
        }
        rest.chars().for_each(&mut each);
        Ok(())
    }
}

/// ASCII text, the common case, is counted by its length.
fn count_chars(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// The character of the escape that `text` starts with, and how many bytes it takes.
fn decode_escape(text: &str) -> Result<(char, usize), JsonError> {
    let simple = |c| Ok((c, 2));
    match text.as_bytes().get(1) {
        Some(b'"') => simple('"'),
        Some(b'\\') => simple('\\'),
        Some(b'/') => simple('/'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'u') => decode_unicode_escape(text),
        _ => Err(JsonError::BadEscape),
    }
}

/// `\uXXXX`, or two of them for a character outside the basic plane. A lone surrogate is no character and is refused.
fn decode_unicode_escape(text: &str) -> Result<(char, usize), JsonError> {
    let unit = |at: usize| {
        let digits = text.as_bytes().get(at..at + 4).ok_or(JsonError::BadEscape)?;
        digits.iter().try_fold(0u32, |n, &d| Some(n << 4 | (d as char).to_digit(16)?)).ok_or(JsonError::BadEscape)
    };
    let first = unit(2)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).map(|c| (c, 6)).ok_or(JsonError::BadEscape);
    }
    if text.as_bytes().get(6..8) != Some(b"\\u") {
        return Err(JsonError::BadEscape);
    }
    let second = unit(8)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(JsonError::BadEscape);
    }
    let c = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(c).map(|c| (c, 12)).ok_or(JsonError::BadEscape)
}

/// The escapes of NIP-01; every other control character as JSON libraries write it (`\u00xx`), because raw ones are not JSON.
fn push_canonical_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        c if is_control(c as u32) => {
            const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
            let code = c as usize;
            out.push_str("\\u00");
            out.extend([HEX[code >> 4], HEX[code & 15]]);
        }
        c => out.push(c),
    }
}

/// What no JSON string may hold as it is (RFC 8259, section 7).
fn is_control(code: impl Into<u32>) -> bool {
    code.into() < 0x20
}

/// Appends `text` as a JSON string in the canonical form of NIP-01.
pub fn push_json_string(text: &str, out: &mut String) {
    out.push('"');
    // Every byte is looked at, which is quicker than to stop at the first: most texts have nothing to escape.
    let is_plain = !text.bytes().fold(false, |escaped, b| escaped | is_control(b) | (b == b'"') | (b == b'\\'));
    if is_plain {
        out.push_str(text);
    } else {
        text.chars().for_each(|c| push_canonical_char(c, out));
    }
    out.push('"');
}

/// The brackets around a skipped value, innermost in the lowest bit: set for an object.
#[derive(Default)]
struct OpenBrackets {
    objects: u64,
    depth: u32,
}

impl OpenBrackets {
    fn push(&mut self, bracket: u8) -> Result<(), JsonError> {
        if self.depth == DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.objects = self.objects << 1 | u64::from(bracket == b'{');
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn close(&self) -> u8 {
        if self.objects & 1 == 1 { b'}' } else { b']' }
    }
}

/// Walks a JSON text token by token. Every method skips white space first and leaves the position behind what it took.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// At byte `at` of `text`, which must be a token's start.
    pub(crate) fn starting_at(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The text that is not scanned yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The byte offset of the next token.
    pub(crate) fn offset(&mut self) -> usize {
        self.skip_white_space();
        self.at
    }

    fn skip_white_space(&mut self) {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next token's first byte.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_white_space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> JsonError {
        if self.at < self.text.len() { JsonError::Unexpected(self.at) } else { JsonError::End }
    }

    /// Takes `byte`, which must come next.
    pub fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.accept(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes `byte` if it comes next.
    pub fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// After an element: true if another follows, false if `close` ended the array or object.
    pub fn another(&mut self, close: u8) -> Result<bool, JsonError> {
        if self.accept(b',') {
            return Ok(true);
        }
        self.expect(close).map(|()| false)
    }

    /// The text must be over, but for white space.
    pub fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A string token. Its escapes are checked when it is decoded or written.
    pub fn string(&mut self) -> Result<JsonStr<'a>, JsonError> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = bytes.get(self.at..).ok_or(JsonError::End)?;
            let length = memchr::memchr2(b'"', b'\\', rest).ok_or(JsonError::End)?;
            self.at += length;
            if rest[length] == b'"' {
                break;
            }
            escaped = true;
            self.at += 2;
        }
        let token = &bytes[start..self.at];
        if token.iter().fold(false, |control, b| control | is_control(*b)) {
            let at = token.iter().position(|b| is_control(*b)).unwrap_or(0);
            return Err(JsonError::ControlCharacter(start + at));
        }
        let raw = self.text.get(start..self.at).ok_or(JsonError::BadEscape)?;
        self.at += 1;
        Ok(JsonStr { raw, escaped })
    }

    /// An object's key, decoded, and the colon behind it.
    #[inline]
    pub fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        match self.plain_key() {
            Some(word) => Ok(Cow::Borrowed(word)),
            None => self.any_key(),
        }
    }

    fn any_key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let key = self.string()?.decode()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// The key that comes next, if it is a word of small letters and the colon comes right behind it, as nearly all do.
    #[inline]
    fn plain_key(&mut self) -> Option<&'a str> {
        let start = self.offset() + 1;
        let word = self.text.as_bytes().get(start - 1..)?.strip_prefix(b"\"")?;
        let mut length = 0;
        while let Some(b'a'..=b'z' | b'_') = word.get(length) {
            length += 1;
        }
        let is_over = word[length..].starts_with(b"\":");
        let key = self.text.get(start..start + length).filter(|_| is_over)?;
        self.at = start + length + 2;
        Some(key)
    }

    /// What `read` makes of the string that comes next, if it is `length` bytes long, and anything. Else nothing is taken. `read` is to
    /// refuse quotes, backslashes and control characters.
    pub(crate) fn string_of<T>(&mut self, length: usize, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let start = self.offset() + 1;
        let text = self.text.get(start..start + length)?;
        let bytes = self.text.as_bytes();
        let is_quoted = bytes[start - 1] == b'"' && bytes.get(start + length) == Some(&b'"');
        let read = if is_quoted { read(text)? } else { return None };
        self.at = start + length + 1;
        Some(read)
    }

    /// An integer without fraction or exponent. Numbers beyond `i128` saturate: only their side of a bound matters.
    pub fn integer(&mut self) -> Result<i128, JsonError> {
        let start = self.offset();
        if let Some(plain) = self.plain_integer() {
            return Ok(plain.into());
        }
        let token = self.number_token();
        let digits = token.strip_prefix('-').unwrap_or(token);
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        if digits.is_empty() || leading_zero || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(JsonError::NotAnInteger(start));
        }
        let magnitude = digits.parse().map_or_else(|_| digits.parse().unwrap_or(i128::MAX), |n: u64| n.into());
        Ok(if token.starts_with('-') { -magnitude } else { magnitude })
    }

    /// The integer that comes next, if it is nothing but a few digits.
    fn plain_integer(&mut self) -> Option<i64> {
        let token = self.text.as_bytes().get(self.at..)?;
        let (mut number, mut length) = (0, 0);
        while let Some(digit @ b'0'..=b'9') = token.get(length) {
            if length == DIGITS_MAX {
                return None;
            }
            number = number * 10 + i64::from(digit - b'0');
            length += 1;
        }
        let leading_zero = token.first() == Some(&b'0') && length > 1;
        let goes_on = matches!(token.get(length), Some(b'-' | b'+' | b'.' | b'e' | b'E'));
        if length == 0 || leading_zero || goes_on {
            return None;
        }
        self.at += length;
        Some(number)
    }

    fn number_token(&mut self) -> &'a str {
        let bytes = self.text.as_bytes();
        let start = self.at;
        while matches!(bytes.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Passes over one value of any kind.
    pub fn skip_value(&mut self) -> Result<(), JsonError> {
        let mut open = OpenBrackets::default();
        loop {
            match self.peek().ok_or(JsonError::End)? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    open.push(bracket)?;
                    if !self.accept(open.close()) {
                        self.skip_key(&open)?;
                        continue;
                    }
                    open.pop();
                }
                _ => self.skip_scalar()?,
            }
            if !self.value_follows(&mut open)? {
                return Ok(());
            }
        }
    }

    fn skip_key(&mut self, open: &OpenBrackets) -> Result<(), JsonError> {
        if open.close() == b'}' { self.key().map(drop) } else { Ok(()) }
    }

    /// Behind a value: closes the brackets that end here, then passes the comma (and key) before the next value, if any.
    fn value_follows(&mut self, open: &mut OpenBrackets) -> Result<bool, JsonError> {
        while open.depth > 0 {
            if self.another(open.close())? {
                self.skip_key(open)?;
                return Ok(true);
            }
            open.pop();
        }
        Ok(false)
    }

    fn skip_scalar(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'"') {
            self.string()?.decode()?;
            return Ok(());
        }
        for word in ["true", "false", "null"] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(());
            }
        }
        let start = self.at;
        if is_number(self.number_token()) { Ok(()) } else { Err(JsonError::Unexpected(start)) }
    }
}

/// Sign, digits without a leading zero, fraction, exponent (RFC 8259, section 6).
fn is_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (integer, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(i, f)| (i, Some(f)));
    digits(integer)
        && (integer.len() == 1 || !integer.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, JsonError> {
        let mut out = String::new();
        Scanner::new(text).string()?.push_canonical(&mut out)?;
        Ok(out)
    }

    #[test]
    fn strings_are_written_back_in_the_one_canonical_form() {
        for (sent, kept) in [
            (r#""plain""#, r#""plain""#),
            (r#""a\/b""#, r#""a/b""#),
            (r#""\u0041\u00e9\ud83d\ude00""#, "\"Aé😀\""),
            (r#""\u000a\u0022\u005c""#, r#""\n\"\\""#),
            (r#""\b\f\n\r\t\"\\""#, r#""\b\f\n\r\t\"\\""#),
            (r#""\u0000\u001F""#, r#""\u0000\u001f""#),
            ("\"\u{7f}\u{2028}é\"", "\"\u{7f}\u{2028}é\""),
        ] {
            assert_eq!(canonical(sent).as_deref(), Ok(kept), "{sent}");
        }
    }

    #[test]
    fn strings_that_are_no_text_are_refused() {
        for bad in [
            r#""\ud800""#,
            r#""\udc00\ud800""#,
            r#""\ud800\u0041""#,
            r#""\x""#,
            r#""\u12""#,
            "\"a\nb\"",
            "\"open",
            r#""\"#,
            r#""\é""#,
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_the_same_however_it_is_written() {
        for text in [r#""created_at":1"#, r#" "created_at" : 1"#, r#""created\u005fat":1"#, r#""\u0063reated_at" :1"#] {
            let mut scanner = Scanner::new(text);
            assert_eq!(scanner.key().as_deref(), Ok("created_at"), "{text}");
            assert_eq!(scanner.integer(), Ok(1), "{text}");
        }
        assert_eq!(Scanner::new(r##""#e":[]"##).key().as_deref(), Ok("#e"));
        assert_eq!(Scanner::new(r#""":1"#).key().as_deref(), Ok(""));
        for text in [r#"id":1"#, r#""id"#, r#""id""#, r#""id",1"#, r#"'id':1"#, "\"i\u{1}d\":1", ""] {
            assert!(Scanner::new(text).key().is_err(), "{text}");
        }
    }

    #[test]
    fn a_string_of_a_length_is_taken_whole_or_not_at_all() {
        let abc = |text| (text == "abc").then_some(text);
        for (text, expected, left) in [
            (r#" "abc","#, Some("abc"), ","),
            (r#""abcd""#, None, r#""abcd""#),
            (r#""ab","abc""#, None, r#""ab","abc""#),
            (r#""abx""#, None, r#""abx""#),
            (r#"abc""#, None, r#"abc""#),
            (r#""abc"#, None, r#""abc"#),
            (r#""a\u0062c""#, None, r#""a\u0062c""#),
            ("\"ab\u{e9}\"", None, "\"ab\u{e9}\""),
            ("", None, ""),
        ] {
            let mut scanner = Scanner::new(text);
            assert_eq!(scanner.string_of(3, abc), expected, "{text}");
            assert_eq!(scanner.rest(), left, "{text}");
        }
    }

    #[test]
    fn integers_of_any_length_are_read() {
        for length in 1..=25 {
            let text = "9".repeat(length);
            assert_eq!(Scanner::new(&text).integer(), Ok(text.parse().unwrap()), "{text}");
        }
        assert_eq!(Scanner::new("0,").integer(), Ok(0));
        assert_eq!(Scanner::new("9223372036854775808").integer(), Ok(i128::from(i64::MAX) + 1));
    }

    #[test]
    fn integers_have_no_fraction_exponent_sign_or_leading_zero() {
        assert_eq!(Scanner::new(" 42").integer(), Ok(42));
        assert_eq!(Scanner::new("-7").integer(), Ok(-7));
        assert_eq!(Scanner::new(&"9".repeat(60)).integer(), Ok(i128::MAX));
        for bad in ["1.0", "1e3", "+1", "01", "\"1\"", "", "null", "--1", "1-"] {
            assert!(Scanner::new(bad).integer().is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_values_are_passed_over_whole() {
        for value in
            ["1", "null", r#""x""#, "[]", "{}", r#"[1,[2,{"a":["b",{}]}],"c"]"#, r#"{"a":{"b":[]},"c":"d","e":-1.5e3}"#]
        {
            let text = format!("{value} ,");
            let mut scanner = Scanner::new(&text);
            scanner.skip_value().unwrap_or_else(|e| panic!("{value}: {e}"));
            assert!(scanner.accept(b','), "{value}");
        }
        for bad in [
            "[1 2]",
            "[,]",
            "{\"a\"}",
            "nul",
            &"[".repeat(100),
            "{1:2}",
            "[1}",
            r#"{"a":1,"b"}"#,
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "1-2",
        ] {
            assert!(Scanner::new(bad).skip_value().is_err(), "{bad}");
        }
    }
}
