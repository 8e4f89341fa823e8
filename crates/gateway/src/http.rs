//! The HTTP side: the relay's pages, and the answer to a request to upgrade.
//!
//! One request a connection: pages are rare here, and an idle keep-alive socket would take a client's place.
//! WebSockets exist at `/` only, so that a path cannot silently be a second identity of the relay.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;

use crate::admission::{NoSeat, Place, Seat};
use crate::handshake::{self, Bad};
use crate::ramp::TooMany;
use crate::server::Edge;
use crate::socket::Socket;
use crate::{Metrics, Peer, Refused, Relay, ResourceRequest};

const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// For refusals of the edge itself: long enough to spread clients, short enough to be noticed by nobody.
const RETRY_AFTER: Duration = Duration::from_secs(10);

const JSON: HeaderValue = HeaderValue::from_static("application/nostr+json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPENMETRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// The asterisk does not stand for this one (Fetch, section 3.3.3).
const ANY_HEADER: HeaderValue = HeaderValue::from_static("*, Authorization");

type Page = Response<Full<Bytes>>;

/// A connection that became a WebSocket.
pub(crate) struct Upgraded<R: Relay> {
    pub(crate) inbound: R::Inbound,
    pub(crate) outbound: R::Outbound,
    pub(crate) deflate: bool,
    pub(crate) seat: Seat,
}

/// What the request turned the connection into; filled by the service while hyper owns the socket.
struct Slot<R: Relay> {
    place: Option<Place>,
    upgraded: Option<Upgraded<R>>,
}

/// One socket at the time of its request.
struct Visit<R: Relay> {
    edge: Arc<Edge<R>>,
    socket: IpAddr,
    slot: Mutex<Slot<R>>,
}

/// Serves the one request of a socket. Some if it is a WebSocket now, with the bytes that came early.
pub(crate) async fn serve<R: Relay, S>(
    io: S,
    edge: Arc<Edge<R>>,
    place: Place,
    socket: IpAddr,
) -> Option<(Upgraded<R>, S, Bytes)>
where
    S: Socket,
{
    let slot = Mutex::new(Slot { place: Some(place), upgraded: None });
    let visit = Arc::new(Visit { edge, socket, slot });
    let service = service_fn(|request| {
        let visit = Arc::clone(&visit);
        Box::pin(async move { Ok::<_, Infallible>(visit.answer(&request).await) })
    });
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service);
    let served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner();
    let upgraded = visit.slot.lock().upgraded.take();
    match (served, upgraded) {
        (Ok(()), Some(upgraded)) => Some((upgraded, io, parts.read_buf)),
        _ => {
            // The peer may be gone already; there is nobody to tell then.
            let _ = io.shutdown().await;
            None
        }
    }
}

/// One upgrade that waits, also if its client does not.
struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    fn counted(metrics: &'a Metrics) -> Self {
        metrics.upgrades_waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.upgrades_waiting.dec();
    }
}

impl<R: Relay> Visit<R> {
    async fn answer(&self, request: &Request<Incoming>) -> Page {
        let (path, headers) = (request.uri().path(), request.headers());
        let mut page = match *request.method() {
            Method::OPTIONS => page(StatusCode::NO_CONTENT, TEXT, ""),
            Method::GET if handshake::is_wanted(headers) && path == "/" => self.upgrade(request).await,
            Method::GET | Method::HEAD => match self.page(path, headers) {
                Some(page) => page,
                None => self.resource(request).await,
            },
            _ => {
                let mut page = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET, HEAD and OPTIONS are understood\n");
                page.headers_mut().insert(header::ALLOW, METHODS);
                page
            }
        };
        if page.status() == StatusCode::SWITCHING_PROTOCOLS {
            return page;
        }
        let headers = page.headers_mut();
        headers.insert(header::CONNECTION, CLOSE);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY_HEADER);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        page
    }

    /// A page that every relay has.
    fn page(&self, path: &str, headers: &HeaderMap) -> Option<Page> {
        let relay = &self.edge.relay;
        Some(match path {
            _ if handshake::is_wanted(headers) => page(StatusCode::NOT_FOUND, TEXT, "WebSockets are at /\n"),
            "/" => {
                let mut page = match wants_information(headers) {
                    true => page_or_refusal(relay.information(), JSON),
                    false => page_or_refusal(relay.landing(), HTML),
                };
                page.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
                page
            }
            "/healthz" => page(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.edge.readiness() {
                Ok(None) => page(StatusCode::OK, TEXT, "ready\n"),
                Ok(Some(warning)) => page(StatusCode::OK, TEXT, format!("ready\nwarning: {warning}\n")),
                Err(reason) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
            },
            "/metrics" => page_or_refusal(relay.metrics(), OPENMETRICS),
            _ => return None,
        })
    }

    async fn resource(&self, request: &Request<Incoming>) -> Page {
        let (uri, headers) = (request.uri(), request.headers());
        let asked = ResourceRequest {
            method: request.method().to_string(),
            peer: Peer::of(self.socket, headers, &self.edge.shared.config.trusted_proxies),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            authorization: headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned),
        };
        let found = match self.edge.relay.resource(asked).await {
            Ok(Some(found)) => found,
            Ok(None) => return page(StatusCode::NOT_FOUND, TEXT, "there is nothing here\n"),
            Err(refused) => return refusal(&refused),
        };
        let status = StatusCode::from_u16(found.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut page = page(status, HeaderValue::from_static(found.kind), found.content);
        if found.immutable {
            page.headers_mut().insert(header::CACHE_CONTROL, FOR_EVER);
        }
        page
    }

    async fn upgrade(&self, request: &Request<Incoming>) -> Page {
        let handshake = match handshake::agree(request.headers(), self.edge.shared.config.compression) {
            Ok(handshake) if request.version() >= hyper::Version::HTTP_11 => handshake,
            Ok(_) => return self.bad_handshake(Bad::Connection),
            Err(bad) => return self.bad_handshake(bad),
        };
        let peer = Peer::of(self.socket, request.headers(), &self.edge.shared.config.trusted_proxies);
        let upgraded = match self.connect(peer, handshake.deflate).await {
            Ok(upgraded) => upgraded,
            Err(refused) => return refusal(&refused),
        };
        self.slot.lock().upgraded = Some(upgraded);
        let mut page = Response::new(Full::default());
        *page.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = page.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, handshake.accept);
        if handshake.deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, handshake::deflate_answer());
        }
        page
    }

    async fn wait_for_turn(&self) -> Result<(), TooMany> {
        let shared = &self.edge.shared;
        let turn = shared.ramp.turn(shared.clock.instant())?;
        if !turn.wait.is_zero() {
            let _waiting = Waiting::counted(&shared.metrics);
            tokio::time::sleep(turn.wait).await;
        }
        turn.use_up();
        Ok(())
    }

    /// Takes a seat, waits for its turn, then asks the relay. In this order: who has no seat takes nobody's turn.
    async fn connect(&self, peer: Peer, deflate: bool) -> Result<Upgraded<R>, Refused> {
        let seat = self.seat(&peer)?;
        let turn = self.wait_for_turn().await;
        turn.map_err(|TooMany| self.refused("herd", false, "too many clients connect at once"))?;
        if self.edge.is_draining() {
            return Err(self.refused("draining", false, "the relay is shutting down"));
        }
        let (inbound, outbound) =
            self.edge.relay.connect(peer).inspect_err(|_| self.edge.shared.metrics.refused("relay"))?;
        Ok(Upgraded { inbound, outbound, deflate, seat })
    }

    fn seat(&self, peer: &Peer) -> Result<Seat, Refused> {
        let place = self.slot.lock().place.take().ok_or(NoSeat::Full);
        place.and_then(|place| self.edge.admission.seat(place, peer)).map_err(|no_seat| match no_seat {
            NoSeat::Full => self.refused("full", false, "the relay has no room for more connections"),
            NoSeat::AddressFull => self.refused("address", true, "too many connections from your address"),
        })
    }

    /// Counts a refusal of the edge itself.
    fn refused(&self, label: &'static str, too_many: bool, reason: &'static str) -> Refused {
        self.edge.shared.metrics.refused(label);
        Refused { too_many, reason: reason.into(), retry_after: RETRY_AFTER }
    }

    fn bad_handshake(&self, bad: Bad) -> Page {
        self.edge.shared.metrics.refused("handshake");
        match bad {
            Bad::Version => {
                let mut page = page(StatusCode::UPGRADE_REQUIRED, TEXT, "WebSocket version 13 is understood\n");
                page.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                page
            }
            Bad::Key => page(StatusCode::BAD_REQUEST, TEXT, "Sec-WebSocket-Key is missing or not 16 bytes in base64\n"),
            Bad::Connection => {
                page(StatusCode::BAD_REQUEST, TEXT, "an upgrade needs HTTP/1.1 and Connection: Upgrade\n")
            }
        }
    }
}

fn page(status: StatusCode, kind: HeaderValue, content: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(content.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(header::CONTENT_TYPE, kind);
    page
}

fn page_or_refusal(content: Result<impl Into<Bytes>, Refused>, kind: HeaderValue) -> Page {
    content.map_or_else(|refused| refusal(&refused), |content| page(StatusCode::OK, kind, content))
}

fn refusal(refused: &Refused) -> Page {
    let status = if refused.too_many { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut page = page(status, TEXT, format!("{}\n", refused.reason));
    // Rounded up: a client that comes exactly then is let in.
    let seconds = refused.retry_after.as_secs() + u64::from(refused.retry_after.subsec_nanos() > 0);
    insert_number(page.headers_mut(), header::RETRY_AFTER, seconds);
    page
}

fn insert_number(headers: &mut HeaderMap, name: HeaderName, number: impl Display) {
    if let Ok(value) = HeaderValue::from_str(&number.to_string()) {
        headers.insert(name, value);
    }
}

/// Whether `Accept` names NIP-11's media type with a quality above zero.
fn wants_information(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/nostr+json"));
        named && !parts.any(is_quality_zero)
    })
}

fn is_quality_zero(parameter: &str) -> bool {
    let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
    quality.is_some_and(|quality| quality.trim().parse() == Ok(0.0f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_information_document_is_asked_for_by_name() {
        let cases = [
            ("application/nostr+json", true),
            ("application/nostr+json, */*;q=0.8", true),
            ("text/html;q=0.9, Application/Nostr+JSON;q=0.1", true),
            ("application/nostr+json;q=0", false),
            ("application/nostr+json; q=0.000, text/html", false),
            ("application/json", false),
            ("*/*", false),
            ("application/nostr+json+rpc", false),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_information(&headers), expected, "{accept}");
        }
        assert!(!wants_information(&HeaderMap::new()));
    }
}
