//! How stores are talked to: answers are bounded, and what a request proves itself with goes to no other host.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{NoProxy, Proxy, Url};
use tracing::info;

/// No answer is longer: ranges have 4 MiB, pages of listings less.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Pairs of hosts of which a redirect is said.
const MAX_SAID: usize = 20;
/// For one try: to reach the store, and to have its whole answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const TRY_TIME: Duration = Duration::from_secs(30);

/// Makes the clients of a store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Connector {
    /// Requests are signed and carry tokens: a redirect to another host is an error.
    Signed,
    /// Requests carry nothing secret: redirects are followed, but never from TLS to none.
    Open,
}

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
enum RedirectError {
    #[error(
        "it redirects to {host}, where credentials of this store must not go: set AWS_ENDPOINT and AWS_REGION to where \
         the bucket is"
    )]
    Elsewhere { host: String },
    #[error("it redirects from https to {host} without TLS")]
    Downgrade { host: String },
    #[error("it redirects more than {MAX_REDIRECTS} times")]
    Loop,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let wrong = |source: reqwest::Error| object_store::Error::Generic {
            store: "HTTP client",
            source: Box::new(source),
        };
        let connector = *self;
        let policy = Policy::custom(move |attempt| match connector.judge(&attempt) {
            Ok(()) => {
                say_once(attempt.previous().last(), attempt.url());
                attempt.follow()
            }
            Err(error) => attempt.error(error),
        });
        let setting = |key| options.get_config_value(&key);
        let is_set = |key| setting(key).is_some_and(|value| value == "true");
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("recap-train/", env!("CARGO_PKG_VERSION")))
            .redirect(policy)
            // The address before a redirect may be a signed one.
            .referer(false)
            .connect_timeout(CONNECT_TIME)
            .timeout(TRY_TIME)
            .danger_accept_invalid_certs(is_set(ClientConfigKey::AllowInvalidCertificates))
            .https_only(!is_set(ClientConfigKey::AllowHttp));
        if let Some(proxy) = setting(ClientConfigKey::ProxyUrl) {
            let excludes = setting(ClientConfigKey::ProxyExcludes).unwrap_or_default();
            let proxy = Proxy::all(proxy).map_err(wrong)?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&excludes)));
        }
        Ok(HttpClient::new(Bounded(builder.build().map_err(wrong)?)))
    }
}

impl Connector {
    /// Whether a redirect may be followed.
    fn judge(self, attempt: &Attempt<'_>) -> Result<(), RedirectError> {
        let (before, next) = (attempt.previous(), attempt.url());
        if before.len() > MAX_REDIRECTS {
            return Err(RedirectError::Loop);
        }
        before
            .last()
            .map_or(Ok(()), |last| self.judge_hop(last, next))
    }

    fn judge_hop(self, from: &Url, to: &Url) -> Result<(), RedirectError> {
        let host = || to.host_str().unwrap_or("nowhere").to_owned();
        match self {
            Self::Signed if from.origin() != to.origin() => {
                Err(RedirectError::Elsewhere { host: host() })
            }
            Self::Open if from.scheme() == "https" && to.scheme() != "https" => {
                Err(RedirectError::Downgrade { host: host() })
            }
            _ => Ok(()),
        }
    }
}

/// Says that requests to one host go to another, whose errors may follow.
fn say_once(from: Option<&Url>, to: &Url) {
    static SAID: Mutex<BTreeSet<[String; 2]>> = Mutex::new(BTreeSet::new());
    let host = |url: &Url| url.host_str().unwrap_or("nowhere").to_owned();
    let hosts = [from.map_or_else(String::new, host), host(to)];
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if hosts[0] != hosts[1] && said.len() < MAX_SAID && said.insert(hosts.clone()) {
        let [from, to] = hosts;
        info!(
            from,
            to, "a store redirects to another host, which is followed"
        );
    }
}

/// A client whose answers end.
#[derive(Debug)]
struct Bounded(reqwest::Client);

#[async_trait]
impl HttpService for Bounded {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = HttpService::call(&self.0, request).await?.into_parts();
        let too_long = |error| HttpError::new_boxed(HttpErrorKind::Decode, error);
        let body = Limited::new(body, MAX_ANSWER_BYTES).map_err(too_long);
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(connector: Connector, from: &str, to: &str) -> Result<(), String> {
        let [from, to] = [from, to].map(|text| Url::parse(text).unwrap());
        let judged = connector.judge_hop(&from, &to);
        judged.map_err(|error| error.to_string())
    }

    #[test]
    fn signed_requests_stay_where_they_are() {
        let away = hop(
            Connector::Signed,
            "https://s3.here/b/k",
            "https://evil.example/b/k?t=1",
        );
        let text = away.unwrap_err();
        assert!(
            text.contains("evil.example") && !text.contains("t=1"),
            "{text}"
        );
        assert!(
            hop(
                Connector::Signed,
                "https://s3.here/b/k",
                "https://s3.here/b/k2"
            )
            .is_ok()
        );
        assert!(
            hop(
                Connector::Signed,
                "https://s3.here/b",
                "https://s3.here:444/b"
            )
            .is_err()
        );
        assert!(hop(Connector::Signed, "https://s3.here/b", "http://s3.here/b").is_err());
    }

    #[test]
    fn open_requests_follow_but_never_out_of_tls() {
        assert!(hop(Connector::Open, "http://a/k", "https://cdn/k").is_ok());
        assert!(hop(Connector::Open, "https://a/k", "https://cdn/k").is_ok());
        assert!(hop(Connector::Open, "https://a/k", "http://cdn/k").is_err());
    }
}
