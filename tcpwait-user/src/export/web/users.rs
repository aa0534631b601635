//! `basic_auth_users`: who may ask. A password costs tens of milliseconds to check, so one is checked at a time, beside the connections, and what came of it is
//! remembered under a tag that only this process can make.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use hyper::header::HeaderValue;
use ring::{hmac, rand::SystemRandom};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Results that are remembered, of passwords that are right and of those that are wrong.
const REMEMBERED: usize = 100;

/// Costs that bcrypt has.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// A hash without its cost. No password is known to give it, and it would let nobody in: it is what an unknown user's password is checked against.
const OF_NOBODY: &str = "hbyZSgVDPrdwVO25/kVhruyvGBfuZgBvlqsoz1lhPj7yTmXq9P1Du";

/// Names and hashes of passwords.
pub struct Users {
    hashes: BTreeMap<String, String>,
    of_nobody: String,
    tags: hmac::Key,
    known: Mutex<Known>,
    one: Arc<Semaphore>,
}

type Tag = [u8; 32];

#[derive(Default)]
struct Known {
    right: HashSet<Tag>,
    wrong: HashSet<Tag>,
}

/// The cost of a hash.
///
/// # Errors
/// It is no bcrypt hash, or one that nobody can check.
pub fn cost(hash: &str) -> Result<u32> {
    let parts: HashParts = hash.parse().ok().context("not a bcrypt hash, as htpasswd -nB makes one")?;
    let cost = parts.get_cost();
    ensure!(COSTS.contains(&cost), "bcrypt has no cost of {cost}");
    Ok(cost)
}

impl Users {
    /// Those with these names and hashes.
    ///
    /// # Errors
    /// A hash is none; or there is no random number.
    pub fn new(hashes: BTreeMap<String, String>) -> Result<Self> {
        let costs: Vec<u32> = hashes.values().map(|hash| cost(hash)).collect::<Result<_>>()?;
        // As dear as the dearest, so that how long an answer takes does not tell who is a user.
        let highest = costs.into_iter().max().unwrap_or(*COSTS.start());
        let tags = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok().context("no random number")?;
        Ok(Self {
            hashes,
            of_nobody: format!("$2b${highest:02}${OF_NOBODY}"),
            tags,
            known: Mutex::default(),
            one: Arc::new(Semaphore::new(1)),
        })
    }

    /// Whether whoever says this in `Authorization` is one of them.
    pub async fn have(&self, authorization: Option<&HeaderValue>) -> bool {
        let Some((name, password)) = authorization.and_then(named) else { return false };
        let (is_user, hash) = match self.hashes.get(&name) {
            Some(hash) => (true, hash),
            None => (false, &self.of_nobody),
        };
        let tag = self.tag(&name, hash, &password);
        if let Some(verdict) = self.remembered(&tag) {
            return verdict;
        }
        let Ok(turn) = self.one.clone().acquire_owned().await else { return false };
        // Somebody may have asked the same meanwhile.
        if let Some(verdict) = self.remembered(&tag) {
            return verdict;
        }
        let hash = hash.clone();
        let matches = spawn_blocking(move || {
            let matches = bcrypt::verify(password, &hash).unwrap_or(false);
            drop(turn);
            matches
        });
        let verdict = matches.await.unwrap_or(false) && is_user;
        self.remember(tag, verdict);
        verdict
    }

    fn tag(&self, name: &str, hash: &str, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.tags);
        for part in [name.as_bytes(), hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    fn remembered(&self, tag: &Tag) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.right.contains(tag) {
            return Some(true);
        }
        known.wrong.contains(tag).then_some(false)
    }

    fn remember(&self, tag: Tag, verdict: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Wrong ones do not push out right ones.
        let these = if verdict { &mut known.right } else { &mut known.wrong };
        if these.len() >= REMEMBERED {
            these.clear();
        }
        these.insert(tag);
    }
}

/// Name and password (RFC 7617).
fn named(authorization: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, credentials) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let said = BASE64_STANDARD.decode(credentials).ok()?;
    let colon = said.iter().position(|byte| *byte == b':')?;
    let (name, password) = said.split_at_checked(colon)?;
    Some((String::from_utf8(name.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn says(text: &str) -> HeaderValue {
        HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(text))).unwrap_or(HeaderValue::from_static(""))
    }

    fn users(cost: u32) -> Result<Users> {
        Users::new(BTreeMap::from([("prometheus".to_owned(), bcrypt::hash("right", cost)?)]))
    }

    #[tokio::test]
    async fn only_who_knows_the_password_is_let_in() -> Result<()> {
        let users = users(4)?;
        // The second time it is remembered.
        for _ in 0..2 {
            assert!(users.have(Some(&says("prometheus:right"))).await);
            for wrong in ["prometheus:wrong", "prometheus:", "prometheus", "nobody:right", ":", "prometheus:right "] {
                assert!(!users.have(Some(&says(wrong))).await, "{wrong}");
            }
            assert!(!users.have(None).await);
            for wrong in ["Basic", "Basic !", "Bearer abc", ""] {
                assert!(!users.have(Some(&HeaderValue::from_static(wrong))).await, "{wrong}");
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn wrong_passwords_fill_no_memory_and_push_out_no_right_one() -> Result<()> {
        let users = users(4)?;
        assert!(users.have(Some(&says("prometheus:right"))).await);
        for wrong in 0..REMEMBERED + 10 {
            assert!(!users.have(Some(&says(&format!("prometheus:{wrong}")))).await);
        }
        let known = users.known.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(known.right.len() == 1 && known.wrong.len() <= REMEMBERED);
        Ok(())
    }

    #[tokio::test]
    async fn an_unknown_user_is_no_faster_refused() -> Result<()> {
        let users = users(9)?;
        let begun = Instant::now();
        users.have(Some(&says("prometheus:wrong"))).await;
        let known = begun.elapsed();
        users.have(Some(&says("nobody:wrong"))).await;
        let unknown = begun.elapsed() - known;
        assert!(unknown > known / 4, "{unknown:?} and {known:?}");
        Ok(())
    }
}
