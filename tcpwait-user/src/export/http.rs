//! What is answered over HTTP, and how long anybody may take to ask: `hyper` speaks it. Whoever is slow, or says too much, is let go of.

use std::{convert::Infallible, io::Write as _, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    rt::{Read, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    questions::Asker,
    seats::{OpenRequests, Seats},
    web::{in_force::Policies, tls::H2},
};
use crate::metrics::exposition::Format;

/// Connections at once. Prometheus needs one.
const MOST: usize = 64;

/// How long a client may take to agree on TLS, and then the head of a request, from there or the last answer on.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take in all: one that never reads its answer ends too.
const ALL_WITHIN: Duration = Duration::from_secs(120);

/// How large the head of a request may be, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;

/// Requests at once on one connection of HTTP/2.
const STREAMS: u32 = 4;

/// What a client may send of bodies that nobody reads, in bytes, for a request and for a connection.
const WINDOWS: (u32, u32) = (16 * 1024, 64 * 1024);

const LANDING: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>tcpwait exporter</title></head><body>\n\
                       <h1>tcpwait exporter</h1>\n<p>TIME_WAIT, ports and ends of TCP connections of this machine.</p>\n\
                       <ul><li><a href=\"/metrics\">/metrics</a></li><li><a href=\"/-/healthy\">/-/healthy</a></li></ul>\n\
                       </body></html>\n";

/// Answers on one listener for ever.
pub async fn serve(listener: TcpListener, asker: Arc<Asker>, policies: Arc<Policies>, seats: Arc<Seats>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // No descriptor is free, or the peer is gone already: both pass.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = seats.take().await;
        let (number, asker, policies) = (place.number(), asker.clone(), policies.clone());
        let task = tokio::spawn(async move {
            let requests = place.requests();
            let _ = timeout(ALL_WITHIN, connection(stream, Answers { asker, policies, requests })).await;
            drop(place);
        });
        seats.seat(number, task.abort_handle());
    }
}

/// Room for as many connections as there may be, on all listeners together.
pub fn seats() -> Arc<Seats> {
    Seats::new(MOST)
}

/// What one connection is answered with.
#[derive(Clone)]
struct Answers {
    asker: Arc<Asker>,
    policies: Arc<Policies>,
    requests: OpenRequests,
}

async fn connection(stream: TcpStream, answers: Answers) {
    let Some(tls) = answers.policies.now().await.tls.clone() else {
        return speak_http1(TokioIo::new(stream), answers).await;
    };
    // Whoever does not speak TLS is let go of.
    let Ok(Ok(stream)) = timeout(HEAD_WITHIN, tls.accept(stream)).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let io = TokioIo::new(stream);
    if is_http2 { speak_http2(io, answers).await } else { speak_http1(io, answers).await }
}

async fn speak_http1(io: impl Read + Write + Unpin, answers: Answers) {
    let service = service_fn(move |request| answer(request, answers.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(LARGEST_HEAD)
        .keep_alive(true)
        .serve_connection(io, service);
    // Whatever went wrong is the client's to notice.
    let _ = served.await;
}

async fn speak_http2(io: impl Read + Write + Unpin, answers: Answers) {
    let service = service_fn(move |request| answer(request, answers.clone()));
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_WITHIN)
        .keep_alive_timeout(HEAD_WITHIN)
        .max_header_list_size(LARGEST_HEAD as u32)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .serve_connection(io, service);
    let _ = served.await;
}

type Reply = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, answers: Answers) -> Result<Reply, Infallible> {
    let _answering = answers.requests.begin();
    let policy = answers.policies.now().await;
    let mut answer = match policy.admit(request.headers()).await {
        Ok(()) => answer_admitted(&request, &answers.asker).await,
        Err(status) => refused(status),
    };
    policy.headers.iter().for_each(|(name, value)| drop(answer.headers_mut().insert(name, value.clone())));
    Ok(answer)
}

fn refused(status: StatusCode) -> Reply {
    let mut answer = text(status, status.canonical_reason().unwrap_or_default());
    if status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    }
    answer
}

async fn answer_admitted(request: &Request<Incoming>, asker: &Asker) -> Reply {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => metrics(request, asker).await,
        "/-/healthy" => text(StatusCode::OK, "tcpwait exporter is healthy\n"),
        "/" => typed(StatusCode::OK, "text/html; charset=utf-8", LANDING.into()),
        _ => text(StatusCode::NOT_FOUND, "there are /, /metrics and /-/healthy\n"),
    }
}

async fn metrics(request: &Request<Incoming>, asker: &Asker) -> Reply {
    let says = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let format = Format::accepted(says(header::ACCEPT));
    let Ok(body) = asker.ask(format).await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the tracing process has ended\n");
    };
    let may_gzip = says(header::ACCEPT_ENCODING).is_some_and(accepts_gzip);
    let packed = may_gzip.then(|| gzip(&body)).flatten();
    let is_packed = packed.is_some();
    let mut answer = typed(StatusCode::OK, format.content_type(), packed.unwrap_or(body).into());
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if is_packed {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Whether gzip is among what the client takes (RFC 9110, 12.5.3).
fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        is_gzip && !parts.any(|weight| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body).ok()?;
    packed.finish().ok()
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    typed(status, "text/plain; charset=utf-8", body.into())
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::{sync::Arc, time::Duration};

    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        net::UnixStream,
        sync::Notify,
        time::timeout,
    };

    use super::{Answers, Policies, accepts_gzip, seats, speak_http1};
    use crate::export::questions::{Asker, Questions};

    const BODY: &str = "tcpwait_sockets 1\n# EOF\n";

    /// What HTTP is made of, for those that mean ill.
    const PIECES: [&str; 18] = [
        "GET ",
        "HEAD ",
        "POST ",
        "/metrics",
        "/-/healthy",
        "/../..",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        " HTTP/9\r\n",
        "Host: a\r\n",
        "Accept: application/openmetrics-text;version=1.0.0;q=x\r\n",
        "Accept-Encoding: gzip;q=,*\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\r\nffffffffffffffff\r\n",
    ];

    fn client() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => (0..PIECES.len()).prop_map(|which| PIECES[which].as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (any::<u8>(), 0..40_000usize).prop_map(|(byte, many)| vec![byte; many]),
        ];
        prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// Whatever a client says before it hangs up, it is answered in HTTP or let go of, and the next one is answered.
        #[test]
        fn whatever_a_client_says(said in client()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (one, other) = UnixStream::pair().unwrap();
                let wake = Arc::new(Notify::new());
                let (mut questions, _gone) = Questions::listen(one, wake.clone(), None);
                tokio::spawn(async move {
                    loop {
                        wake.notified().await;
                        if questions.are_open() {
                            questions.answer(|_| BODY.as_bytes().to_vec());
                        }
                    }
                });
                let asker = Arc::new(Asker::new(other));
                let policies = Arc::new(Policies::first(asker.clone()).await.unwrap());
                let answers = Answers { asker, policies, requests: seats().take().await.requests() };
                for (said, is_right) in [(said.as_slice(), false), (b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true)] {
                    let (mut client, server) = duplex(1 << 20);
                    tokio::spawn(speak_http1(TokioIo::new(server), answers.clone()));
                    // Whoever is let go of early hears no more.
                    let _ = client.write_all(said).await;
                    if !is_right {
                        let _ = client.shutdown().await;
                    }
                    let mut heard = Vec::new();
                    let ended = timeout(Duration::from_secs(60), client.read_to_end(&mut heard)).await;
                    prop_assert!(ended.is_ok(), "it goes on for ever");
                    let heard = String::from_utf8_lossy(&heard);
                    prop_assert!(heard.is_empty() || heard.starts_with("HTTP/1."), "{heard:?}");
                    prop_assert!(!is_right || heard.ends_with(BODY), "{heard:?}");
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        assert!(accepts_gzip("gzip") && accepts_gzip("deflate, gzip;q=0.5") && accepts_gzip("*"));
        assert!(!accepts_gzip("") && !accepts_gzip("gzip;q=0") && !accepts_gzip("deflate"));
    }
}
