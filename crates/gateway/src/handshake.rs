//! The opening handshake: is this request a WebSocket upgrade we can answer, and with which headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY};
use hyper::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use sha1::{Digest, Sha1};

/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const DEFLATE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    pub(crate) accept: HeaderValue,
    /// Whether messages may be compressed.
    pub(crate) deflate: bool,
}

/// Why a request to upgrade is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    Version,
    Key,
    Connection,
}

/// Whether the client wants a WebSocket at all.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket")
}

/// Checks the request and agrees on compression.
pub(crate) fn agree(headers: &HeaderMap, compression: bool) -> Result<Handshake, Bad> {
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err(Bad::Connection);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Bad::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Bad::Key)?;
    if STANDARD.decode(key).map_or(true, |nonce| nonce.len() != 16) {
        return Err(Bad::Key);
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let accept = HeaderValue::from_str(&STANDARD.encode(digest)).map_err(|_| Bad::Key)?;
    let deflate = compression && list(headers, SEC_WEBSOCKET_EXTENSIONS).any(is_acceptable_deflate);
    Ok(Handshake { accept, deflate })
}

/// The answer to an acceptable offer.
pub(crate) fn deflate_answer() -> HeaderValue {
    HeaderValue::from_static(DEFLATE)
}

/// Any offer will do that does not set our window: the contexts are shared and have the largest.
fn is_acceptable_deflate(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|part| {
        let (name, value) =
            part.split_once('=').map_or((part, None), |(name, value)| (name.trim(), Some(value.trim())));
        let value = value.map(|value| value.trim_matches('"'));
        let known = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
            ("client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => matches!(bits.parse(), Ok(8..=15u8)),
            _ => false,
        };
        let first = !seen.contains(&name);
        seen.push(name);
        known && first
    })
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    list(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(changes: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in good.iter().chain(changes) {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_example_of_the_standard() {
        let handshake = agree(&request(&[]), true).expect("a handshake");
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!handshake.deflate);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(agree(&request(&[("connection", "close")]), true), Err(Bad::Connection));
        assert_eq!(agree(&request(&[("sec-websocket-version", "8")]), true), Err(Bad::Version));
        assert_eq!(agree(&request(&[("sec-websocket-key", "c2hvcnQ=")]), true), Err(Bad::Key));
        assert_eq!(agree(&request(&[("sec-websocket-key", "no base64 at all!!!!====")]), true), Err(Bad::Key));
    }

    #[test]
    fn deflate_is_agreed_on_only_as_we_can_do_it() {
        let cases = [
            ("permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            ("permessage-deflate; client_max_window_bits=10; server_no_context_takeover", true),
            ("permessage-deflate; server_max_window_bits=10", false),
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits=\"15\"", true),
            ("permessage-deflate; client_max_window_bits=7", false),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", false),
            ("permessage-deflate; mystery", false),
            ("x-webkit-deflate-frame", false),
        ];
        for (offer, expected) in cases {
            let headers = request(&[("sec-websocket-extensions", offer)]);
            assert_eq!(agree(&headers, true).map(|handshake| handshake.deflate), Ok(expected), "{offer}");
            assert_eq!(agree(&headers, false).map(|handshake| handshake.deflate), Ok(false), "{offer}");
        }
    }
}
