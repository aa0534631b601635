//! How clients are served now, made ready from what the file says: TLS, who is let in, how many, and what every answer has.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use tokio_rustls::TlsAcceptor;

use super::{config::WebConfig, rate::Bucket, tls, users::Users};
use crate::export::questions::Asker;

/// How often it is asked whether the file has changed, at most.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// How clients are served.
pub struct Policy {
    /// Without it, plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// What every answer has.
    pub headers: HeaderMap,
    /// Whoever is let in; without, everybody.
    users: Option<Users>,
    bucket: Option<Mutex<Bucket>>,
}

impl Policy {
    /// Makes it ready; without a configuration everybody is served in plain HTTP.
    ///
    /// # Errors
    /// Something in it is not as it must be; the message says what.
    pub fn new(config: Option<&WebConfig>) -> Result<Self> {
        let Some(config) = config else {
            return Ok(Self { tls: None, headers: HeaderMap::new(), users: None, bucket: None });
        };
        let tls = config.tls.as_ref().map(|tls| tls::server(tls, config.http2)).transpose();
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        let users = Some(&config.users).filter(|users| !users.is_empty()).map(|users| Users::new(users.clone()));
        Ok(Self {
            tls: tls.context("tls_server_config")?.map(TlsAcceptor::from),
            headers,
            users: users.transpose().context("basic_auth_users")?,
            bucket: config.rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))),
        })
    }

    /// Whether a request with these headers is answered, else with what it is refused.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        if let Some(bucket) = &self.bucket
            && !bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
        {
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        match &self.users {
            Some(users) if !users.have(headers.get(AUTHORIZATION)).await => Err(StatusCode::UNAUTHORIZED),
            _ => Ok(()),
        }
    }
}

/// The policy in force, in the process that answers HTTP: it asks for a new one when somebody comes.
pub struct Policies {
    asker: Arc<Asker>,
    in_force: RwLock<Arc<Policy>>,
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
            in_force: RwLock::new(Arc::new(Policy::new(config.as_ref())?)),
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
            if let Some(new) = self.newer().await {
                *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
            }
            *asked = Instant::now();
        }
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One that has replaced the one in force. It was tried before it was sent.
    async fn newer(&self) -> Option<Policy> {
        let config = self.asker.ask_web_config().await.ok()?;
        let config: WebConfig = serde_json::from_slice(&config).ok()?;
        Policy::new(Some(&config)).ok()
    }
}
