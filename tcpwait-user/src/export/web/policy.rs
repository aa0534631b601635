//! How clients are served now, made ready from what the file says: TLS, who is let in, how many, and what every answer has.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result};
use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use tokio_rustls::TlsAcceptor;

use super::{config::WebConfig, rate::TokenBucket, tls, users::Users};

/// How clients are served.
pub struct Policy {
    /// Without it, plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// What every answer has.
    pub headers: HeaderMap,
    /// Whoever is let in; without, everybody.
    users: Option<Users>,
    bucket: Option<Mutex<TokenBucket>>,
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
            bucket: config.rate.map(|rate| Mutex::new(TokenBucket::new(rate, Instant::now()))),
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
