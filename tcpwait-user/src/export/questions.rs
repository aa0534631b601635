//! What the two processes of the exporter say to each other over their socket pair: one byte asks for the metrics in a format, or for what `--web.config.file`
//! says; the answer is that byte again, its length in four bytes, little-endian, and the text. The one that asks may be taken over by somebody: of what it says nothing but the
//! byte is read.

use std::{collections::VecDeque, io, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{Mutex, Notify, OwnedMutexGuard, mpsc, oneshot},
    task::spawn_blocking,
};

use super::web::watch::WebFile;
use crate::metrics::exposition::Format;

/// What is asked for.
const OPEN_METRICS: u8 = 0;
const TEXT: u8 = 1;
const WEB_CONFIG: u8 = 2;
const PROTOBUF: u8 = 3;

/// An answer is never longer: some 40 KB, and 200 bytes for each group.
const MAX_ANSWER: u32 = 16 << 20;

/// A format that somebody waits for.
type Question = (Format, oneshot::Sender<Vec<u8>>);

/// Questions that wait for an answer.
#[derive(Debug)]
pub struct Questions {
    asked: mpsc::Receiver<Question>,
    open: VecDeque<Question>,
}

impl Questions {
    /// Takes questions from the other process until it goes; `wake` is told of each, and of its end. Questions for what the file says are answered here.
    /// Needs a tokio runtime around it.
    pub fn listen(pair: UnixStream, wake: Arc<Notify>, web: Option<WebFile>) -> (Self, oneshot::Receiver<()>) {
        let (send, asked) = mpsc::channel(1);
        let (gone, is_gone) = oneshot::channel();
        tokio::spawn(async move {
            let _ = answer_all(pair, &send, &wake, web).await;
            let _ = gone.send(());
            wake.notify_one();
        });
        (Self { asked, open: VecDeque::new() }, is_gone)
    }

    /// Whether anybody waits.
    pub fn are_open(&mut self) -> bool {
        while let Ok(question) = self.asked.try_recv() {
            self.open.push_back(question);
        }
        !self.open.is_empty()
    }

    /// Answers everybody who waits.
    pub fn answer(&mut self, mut with: impl FnMut(Format) -> Vec<u8>) {
        for (format, to) in self.open.drain(..) {
            // Whoever has gone meanwhile needs none.
            let _ = to.send(with(format));
        }
    }
}

async fn answer_all(
    mut pair: UnixStream,
    send: &mpsc::Sender<Question>,
    wake: &Notify,
    mut web: Option<WebFile>,
) -> io::Result<()> {
    loop {
        let what = pair.read_u8().await?;
        let text = match what {
            WEB_CONFIG => {
                let (text, file) = spawn_blocking(move || web_config(web)).await?;
                web = file;
                text.into_bytes()
            }
            format => {
                let format = match format {
                    OPEN_METRICS => Format::OpenMetrics,
                    PROTOBUF => Format::Protobuf,
                    _ => Format::Text,
                };
                let (to, answer) = oneshot::channel();
                if send.send((format, to)).await.is_err() {
                    return Ok(());
                }
                wake.notify_one();
                answer.await.unwrap_or_default()
            }
        };
        pair.write_u8(what).await?;
        pair.write_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX)).await?;
        pair.write_all(&text).await?;
    }
}

/// What the file says if that is new; that there is no file.
fn web_config(mut web: Option<WebFile>) -> (String, Option<WebFile>) {
    let text = match &mut web {
        Some(file) => file.newer().unwrap_or_default(),
        None => "null".to_owned(),
    };
    (text, web)
}

/// The end that asks: one question at a time.
#[derive(Debug)]
pub struct Asker(Arc<Mutex<UnixStream>>);

impl Asker {
    /// Asks over this.
    pub fn new(pair: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(pair)))
    }

    /// The metrics as they are now.
    ///
    /// # Errors
    /// The other process is gone.
    pub async fn ask(&self, format: Format) -> io::Result<Vec<u8>> {
        self.ask_for(match format {
            Format::OpenMetrics => OPEN_METRICS,
            Format::Text => TEXT,
            Format::Protobuf => PROTOBUF,
        })
        .await
    }

    /// How clients are to be served, as JSON: `null` where there is no file; empty where nothing has changed since it was asked for last.
    ///
    /// # Errors
    /// The other process is gone.
    pub async fn ask_web_config(&self) -> io::Result<Vec<u8>> {
        self.ask_for(WEB_CONFIG).await
    }

    /// Whoever asked may go before the answer comes, as a client that hangs up does: it is read all the same. Else it would be the next one's.
    async fn ask_for(&self, what: u8) -> io::Result<Vec<u8>> {
        let pair = self.0.clone().lock_owned().await;
        tokio::spawn(exchange(pair, what)).await?
    }
}

async fn exchange(mut pair: OwnedMutexGuard<UnixStream>, what: u8) -> io::Result<Vec<u8>> {
    pair.write_u8(what).await?;
    if pair.read_u8().await? != what {
        return Err(io::Error::other("an answer to something else"));
    }
    let length = pair.read_u32_le().await?;
    if length > MAX_ANSWER {
        return Err(io::Error::other("an answer of an impossible length"));
    }
    let mut text = vec![0; length as usize];
    pair.read_exact(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_question_has_its_answer() -> io::Result<()> {
        let (one, other) = UnixStream::pair()?;
        let wake = Arc::new(Notify::new());
        let (mut questions, gone) = Questions::listen(one, wake.clone(), None);
        let asker = Asker::new(other);
        let asking = async { [asker.ask(Format::Text).await, asker.ask(Format::OpenMetrics).await] };
        let answering = async {
            let mut answered = 0;
            while answered < 2 {
                wake.notified().await;
                if questions.are_open() {
                    questions.answer(|format| format!("{format:?}").into_bytes());
                    answered += 1;
                }
            }
        };
        let ([text, open_metrics], ()) = tokio::join!(asking, answering);
        assert_eq!((text?, open_metrics?), (b"Text".to_vec(), b"OpenMetrics".to_vec()));
        drop(asker);
        assert_eq!(gone.await, Ok(()));
        Ok(())
    }
    /// A client that hangs up while it is asked for it takes nobody's answer.
    #[tokio::test]
    async fn an_answer_that_nobody_waits_for_is_not_the_next_ones() -> io::Result<()> {
        let (one, other) = UnixStream::pair()?;
        let wake = Arc::new(Notify::new());
        let (mut questions, _gone) = Questions::listen(one, wake.clone(), None);
        let asker = Asker::new(other);
        tokio::select! {
            biased;
            _ = asker.ask(Format::Text) => {}
            () = wake.notified() => {}
        }
        let answering = async {
            loop {
                if questions.are_open() {
                    questions.answer(|format| format!("{format:?}").into_bytes());
                }
                wake.notified().await;
            }
        };
        tokio::select! {
            web = asker.ask_web_config() => assert_eq!(web?, b"null"),
            () = answering => {}
        }
        Ok(())
    }
}
