//! How clients are served in the process that answers HTTP: by what the tracing process said last.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{config::WebConfig, policy::Policy};
use crate::export::questions::Asker;

/// How often it is asked whether the file has changed, at most.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// The policy in force, in the process that answers HTTP: it asks for a new one when somebody comes.
pub struct Policies {
    asker: Arc<Asker>,
    in_force: Arc<RwLock<Arc<Policy>>>,
    /// When it was asked last; nothing where there is no file.
    asked: Option<tokio::sync::Mutex<Instant>>,
}

impl Policies {
    /// Asks for the first one: before it is there, nobody is served.
    ///
    /// # Errors
    /// The tracing process gives none.
    pub async fn first(asker: Arc<Asker>) -> Result<Self> {
        let config = asker.ask_web_config().await.context("asking how clients are to be served")?;
        let config: Option<WebConfig> =
            serde_json::from_slice(&config).context("reading how clients are to be served")?;
        Ok(Self {
            in_force: Arc::new(RwLock::new(Arc::new(Policy::new(config.as_ref())?))),
            asked: config.map(|_| tokio::sync::Mutex::new(Instant::now())),
            asker,
        })
    }

    /// The one that is in force now.
    pub async fn now(&self) -> Arc<Policy> {
        // Whoever comes while another asks does not wait.
        if let Some(Ok(mut asked)) = self.asked.as_ref().map(tokio::sync::Mutex::try_lock)
            && asked.elapsed() >= ASKED_EVERY
        {
            // A client that hangs up meanwhile does not keep it from being taken over: it is told once.
            let _ = tokio::spawn(take_over(self.asker.clone(), self.in_force.clone())).await;
            *asked = Instant::now();
        }
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes over one that has replaced the one in force. It was tried before it was sent.
async fn take_over(asker: Arc<Asker>, in_force: Arc<RwLock<Arc<Policy>>>) -> Option<()> {
    let config = asker.ask_web_config().await.ok()?;
    let config: WebConfig = serde_json::from_slice(&config).ok()?;
    let new = Policy::new(Some(&config)).ok()?;
    *in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    Some(())
}
