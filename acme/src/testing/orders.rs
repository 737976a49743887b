//! Accounts and orders, and what they are asked (RFC 8555 §7).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use serde_json::{Value, json};

use super::{
    Shared, Vice, held,
    http1::{Answer, Question},
    jws::{Signed, decoded, key_authorization},
    look,
};

#[derive(Default)]
pub(super) struct Orders {
    next: u64,
    nonces: BTreeSet<String>,
    /// Their keys by their URLs.
    accounts: BTreeMap<String, Vec<u8>>,
    orders: BTreeMap<u64, Order>,
}

#[derive(Clone)]
struct Order {
    domain: String,
    status: &'static str,
    proof: [u8; 32],
    token: String,
    chain: Option<String>,
}

impl Orders {
    pub(super) fn new_nonce(&mut self) -> String {
        let nonce = format!("nonce-{}", self.number());
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Shared {
    pub(super) async fn answer(&self, question: &Question, vice: Option<Vice>) -> Answer {
        match (question.method.as_str(), question.path.as_str()) {
            ("get", "/directory") => Answer::ok(self.directory()),
            ("head", "/nonce") => Answer::ok(""),
            ("post", path) => match self.verified(question) {
                Ok(signed) => self.act(path, &signed, vice).await,
                Err(answer) => answer,
            },
            _ => Answer::problem("malformed", "no such place"),
        }
    }

    fn directory(&self) -> Value {
        let at = |place: &str| format!("{}/{place}", self.base);
        let nonces = match self.has(Vice::Directory) {
            true => "no place at all".to_owned(),
            false => at("nonce"),
        };
        json!({
            "newNonce": nonces,
            "newAccount": at("account"),
            "newOrder": at("order"),
            "meta": { "termsOfService": at("terms") },
        })
    }

    fn verified(&self, question: &Question) -> Result<Signed, Answer> {
        let mut orders = held(&self.orders);
        let key_of = |account: &str| orders.accounts.get(account).cloned();
        let Some(signed) = Signed::read(&question.body, key_of) else {
            let what = String::from_utf8_lossy(&question.body);
            let kind = match what.contains("signature") {
                true => "accountDoesNotExist",
                false => "malformed",
            };
            return Err(Answer::problem(kind, "not signed by anybody known"));
        };
        if self.has(Vice::NoNonce) || !orders.nonces.remove(&signed.nonce) {
            return Err(Answer::problem("badNonce", "nonce not given here"));
        }
        match signed.url == format!("{}{}", self.base, question.path) {
            true => Ok(signed),
            false => Err(Answer::problem("unauthorized", "signed for another place")),
        }
    }

    async fn act(&self, path: &str, signed: &Signed, vice: Option<Vice>) -> Answer {
        if self.has(Vice::RateLimit) {
            return Answer::problem("rateLimited", "too many questions");
        }
        let mut words = path.trim_start_matches('/').split('/');
        let place = words.next().unwrap_or_default();
        let number = words.next().and_then(|number| number.parse().ok());
        match (place, number) {
            ("account", None) => self.account(signed, vice),
            _ if signed.account.is_none() => Answer::problem("unauthorized", "no account"),
            ("order", None) => self.order(signed, vice),
            ("order", Some(number)) => self.told(number),
            ("authorization", Some(number)) => self.authorization(number, vice),
            ("challenge", Some(number)) => self.challenge(number, vice).await,
            ("finalize", Some(_)) if vice == Some(Vice::Procrastination) => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            ("finalize", Some(number)) => self.finalize(number, signed, vice),
            ("chain", Some(number)) => match self.order_of(number).and_then(|order| order.chain) {
                Some(chain) => Answer::ok(chain),
                None => Answer::problem("malformed", "no such chain"),
            },
            _ => Answer::problem("malformed", "no such place"),
        }
    }

    fn account(&self, signed: &Signed, vice: Option<Vice>) -> Answer {
        let mut orders = held(&self.orders);
        let is_asked = |name: &str| signed.payload[name] == Value::Bool(true);
        let known = orders.accounts.iter().find(|(_, key)| **key == signed.key);
        if let Some((url, _)) = known {
            return Answer {
                location: Some(url.clone()),
                ..Answer::ok(json!({"status": "valid"}))
            };
        }
        if is_asked("onlyReturnExisting") {
            return Answer::problem("accountDoesNotExist", "no account of this key");
        }
        if vice == Some(Vice::Terms) && !is_asked("termsOfServiceAgreed") {
            return Answer::problem("userActionRequired", "must agree to terms of service");
        }
        let url = format!("{}/account/{}", self.base, orders.number());
        orders.accounts.insert(url.clone(), signed.key.clone());
        self.accounts.fetch_add(1, Ordering::SeqCst);
        Answer {
            status: "201 Created",
            location: Some(url),
            ..Answer::ok(json!({"status": "valid"}))
        }
    }

    fn order(&self, signed: &Signed, vice: Option<Vice>) -> Answer {
        let Some(domain) = signed.payload["identifiers"][0]["value"].as_str() else {
            return Answer::problem("malformed", "no domain");
        };
        let number = {
            let mut orders = held(&self.orders);
            let number = orders.number();
            let token = format!("token-{number}");
            let order = Order {
                domain: match vice {
                    Some(Vice::OtherDomain) => "other.test".to_owned(),
                    _ => domain.to_owned(),
                },
                status: "pending",
                proof: key_authorization(&token, &signed.key),
                token,
                chain: None,
            };
            orders.orders.insert(number, order);
            number
        };
        Answer {
            status: "201 Created",
            location: Some(format!("{}/order/{number}", self.base)),
            ..self.told(number)
        }
    }

    fn order_of(&self, number: u64) -> Option<Order> {
        held(&self.orders).orders.get(&number).cloned()
    }

    fn told(&self, number: u64) -> Answer {
        let Some(order) = self.order_of(number) else {
            return Answer::problem("malformed", "no such order");
        };
        let at = |place: &str| format!("{}/{place}/{number}", self.base);
        let mut told = json!({
            "status": order.status,
            "identifiers": [{"type": "dns", "value": order.domain}],
            "authorizations": [at("authorization")],
            "finalize": at("finalize"),
        });
        if order.chain.is_some() {
            told["certificate"] = at("chain").into();
        }
        if order.status == "invalid" && self.has(Vice::Blind) {
            told["error"] = not_found("whoever is asked shows no proof");
        }
        Answer::ok(told)
    }

    fn authorization(&self, number: u64, vice: Option<Vice>) -> Answer {
        let Some(order) = self.order_of(number) else {
            return Answer::problem("malformed", "no such authorization");
        };
        let kind = match vice {
            Some(Vice::OtherChallenges) => "dns-01",
            _ => "tls-alpn-01",
        };
        let status = match order.status {
            "pending" | "invalid" => order.status,
            _ => "valid",
        };
        let mut challenge = json!({
            "type": kind,
            "url": format!("{}/challenge/{number}", self.base),
            "token": order.token,
            "status": status,
        });
        if status == "invalid" {
            challenge["error"] = not_found("nobody shows the proof");
        }
        Answer::ok(json!({
            "status": status,
            "identifier": {"type": "dns", "value": order.domain},
            "challenges": [challenge],
        }))
    }

    /// Looks at once, and so answers late.
    async fn challenge(&self, number: u64, vice: Option<Vice>) -> Answer {
        let Some(order) = self.order_of(number) else {
            return Answer::problem("malformed", "no such challenge");
        };
        let place = *held(&self.place);
        let is_proven =
            vice != Some(Vice::Blind) && look::is_proven(place, &order.domain, &order.proof).await;
        self.looks.fetch_add(u32::from(is_proven), Ordering::SeqCst);
        let status = match is_proven {
            true => "ready",
            false => "invalid",
        };
        if let Some(order) = held(&self.orders).orders.get_mut(&number) {
            order.status = status;
        }
        Answer::ok(json!({
            "type": "tls-alpn-01",
            "url": format!("{}/challenge/{number}", self.base),
            "token": order.token,
            "status": "processing",
        }))
    }

    fn finalize(&self, number: u64, signed: &Signed, vice: Option<Vice>) -> Answer {
        let request = signed.payload["csr"].as_str().and_then(decoded);
        let order = self
            .order_of(number)
            .filter(|order| order.status == "ready");
        let (Some(request), Some(order)) = (request, order) else {
            return Answer::problem("orderNotReady", "not proven yet");
        };
        let life = *held(&self.life);
        let Some(chain) = self.issuer.issue(&request, &order.domain, life, vice) else {
            return Answer::problem("badCSR", "not for the domain, or not signed with its key");
        };
        if let Some(order) = held(&self.orders).orders.get_mut(&number) {
            order.status = "valid";
            order.chain = Some(chain);
        }
        self.issued.fetch_add(1, Ordering::SeqCst);
        self.told(number)
    }
}

/// Some say what they found in the order, most in the challenge.
fn not_found(detail: &str) -> Value {
    json!({"type": "urn:ietf:params:acme:error:connection", "detail": detail})
}
