//! Why a broker can't be reached, in an operator's words: the address, what is wrong there, and the
//! setting to look at.
//!
//! librdkafka tries again for ever, and its calls end with no more than a time-out. What was wrong
//! it tells in its log alone, once for each attempt. These lines are read here. What was found is
//! kept for the whole process, by address: who waits for a broker in vain is seldom the client that
//! was told why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A finding counts this long. librdkafka repeats an equal one after half of it at the latest.
const RECENT: Duration = Duration::from_secs(60);
/// An equal finding is logged again after this long.
const REMIND: Duration = Duration::from_secs(60);
/// Addresses that are kept at the most.
const MAX_ADDRESSES: usize = 64;

/// What is wrong at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Nothing listens at the port.
    Refused,
    /// The host's name does not resolve.
    UnknownHost,
    /// No network leads there.
    NoRoute,
    /// The connection is not made in time.
    NoAnswer,
    /// User or password are not accepted.
    Login,
    /// The broker does not offer the mechanism.
    Mechanism,
    /// The broker's certificate is not trusted.
    Certificate,
    /// The broker wants a certificate of ours.
    ClientCertificate,
    /// We speak TLS, the port does not.
    NotTls,
    /// The port speaks TLS, we don't.
    Tls,
    /// The broker closes connections without a login.
    LoginWanted,
    /// Something else than Kafka answers.
    NotKafka,
}

impl Problem {
    /// What the line of the log tells.
    fn of(said: &str) -> Option<Self> {
        let has = |words: &str| said.contains(words);
        let any = |all: &[&str]| all.iter().any(|words| said.contains(words));
        Some(if has("Failed to resolve") {
            Self::UnknownHost
        } else if has("Connection refused") {
            Self::Refused
        } else if any(&["No route to host", "Network is unreachable", "Host is unreachable"]) {
            Self::NoRoute
        } else if has("mechanism handshake failed") {
            Self::Mechanism
        } else if any(&[
            "SASL authentication error",
            "SASL authentication failure",
            "initialize SASL",
        ]) {
            Self::Login
        } else if any(&["certificate verify failed", "certificate could not be verified"]) {
            Self::Certificate
        } else if any(&["client SSL authentication might be", "certificate required"]) {
            Self::ClientCertificate
        } else if any(&["SSL handshake", "SSL connection handshake", "in state SSL_HANDSHAKE"]) {
            Self::NotTls
        } else if any(&["setup timed out in state", "Connection timed out"]) {
            Self::NoAnswer
        } else if has("connecting to a SSL listener?")
            || has("Disconnected") && has("in state APIVERSION_QUERY")
        {
            Self::Tls
        } else if let Some(size) = frame_size(said) {
            // A frame begins with its size. Where it is not one, it is the beginning of what else
            // the port says: a TLS alert, or the name of a protocol.
            if size >> 16 == 0x1503 { Self::Tls } else { Self::NotKafka }
        } else if has("might require SASL authentication") {
            Self::LoginWanted
        } else {
            return None;
        })
    }

    /// The problem in words, and what to do about it.
    fn words(self) -> &'static str {
        match self {
            Self::Refused => {
                "nothing listens there: is the broker running, and is the address right \
                 (kafka.brokers, or the broker's advertised.listeners)?"
            }
            Self::UnknownHost => {
                "the host's name is not known: look at kafka.brokers, or at the broker's \
                 advertised.listeners, and at the name server"
            }
            Self::NoRoute => "no network leads there: look at the address and the network",
            Self::NoAnswer => {
                "the connection is not made in time: a firewall may drop it, or the address is \
                 wrong (kafka.brokers, or the broker's advertised.listeners)"
            }
            Self::Login => {
                "the broker refuses the login: look at kafka.sasl_username and kafka.sasl_password"
            }
            Self::Mechanism => "the broker does not offer kafka.sasl_mechanism",
            Self::Certificate => {
                "the broker's certificate is not trusted: look at kafka.ssl_ca_location, and \
                 whether the certificate is for this host and still valid"
            }
            Self::ClientCertificate => {
                "the broker wants a client's certificate: set ssl.certificate.location and \
                 ssl.key.location in kafka.properties"
            }
            Self::NotTls => {
                "the TLS handshake fails; probably the port speaks no TLS: look at \
                 kafka.security_protocol and the port"
            }
            Self::Tls => {
                "the connection is closed at once; probably the port speaks TLS or is not Kafka's: \
                 look at kafka.security_protocol and the port"
            }
            Self::LoginWanted => {
                "the broker closes the connection at once; probably it wants a login: look at \
                 kafka.security_protocol"
            }
            Self::NotKafka => "something else than Kafka answers there: look at the port",
        }
    }
}

/// The number in "Invalid response size 352518912".
fn frame_size(said: &str) -> Option<u32> {
    let places = ["Invalid response size ", "Invalid frame size "];
    let (_, number) = places.iter().find_map(|words| said.split_once(words))?;
    let end = number.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(number.len());
    Some(number[..end].parse::<i32>().ok()?.cast_unsigned())
}

/// What is wrong at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// `host:port`.
    pub address: String,
    /// What is wrong.
    pub problem: Problem,
    /// librdkafka's words.
    pub said: String,
}

impl Diagnosis {
    /// Reads a line of librdkafka's log, or the reason of an error that it reports.
    pub fn read(line: &str) -> Option<Self> {
        // "[thrd:NAME]: ", in the log alone.
        let line = match line.strip_prefix("[thrd:") {
            Some(rest) => rest.split_once("]: ")?.1,
            None => line,
        };
        let (name, said) = line.split_once(": ")?;
        // "sasl_ssl://HOST:PORT/bootstrap", or with the broker's number; "HOST:PORT/3" without TLS
        // and login; "GroupCoordinator: HOST:PORT: Connect to …".
        let place = name.split_once("://").map_or(name, |(_, place)| place);
        let place = place.split_once('/').map_or(place, |(place, _)| place);
        let (address, said) =
            if place.contains(':') { (place, said) } else { said.split_once(": ")? };
        if !address.contains(':') || address.contains(' ') {
            return None;
        }
        let problem = Problem::of(said)?;
        Some(Self { address: address.to_owned(), problem, said: said.to_owned() })
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka at {}: {}", self.address, self.problem.words())
    }
}

/// What was found at an address.
struct Finding {
    diagnosis: Diagnosis,
    at: Instant,
    times: u32,
    told: Option<Instant>,
}

static FINDINGS: Mutex<BTreeMap<String, Finding>> = Mutex::new(BTreeMap::new());

fn findings() -> MutexGuard<'static, BTreeMap<String, Finding>> {
    FINDINGS.lock().unwrap_or_else(|e| e.into_inner())
}

/// What is wrong at the brokers' addresses, as of the last minute: for one who got no answer, since
/// a broker that ends leaves a finding, too.
pub fn recent() -> Vec<Diagnosis> {
    let findings = findings();
    let recent = findings.values().filter(|finding| finding.at.elapsed() < RECENT);
    recent.map(|finding| finding.diagnosis.clone()).collect()
}

/// What is wrong at the brokers' addresses, in one line; `None` where nothing is known to be.
pub fn recent_in_words() -> Option<String> {
    let all: Vec<String> = recent().iter().map(Diagnosis::to_string).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Keeps what `line` tells; what is to be logged, if that is news.
pub(crate) fn note(line: &str) -> Option<Diagnosis> {
    note_at(&mut findings(), Diagnosis::read(line)?, Instant::now())
}

fn note_at(
    findings: &mut BTreeMap<String, Finding>,
    diagnosis: Diagnosis,
    now: Instant,
) -> Option<Diagnosis> {
    if findings.len() >= MAX_ADDRESSES {
        findings.retain(|_, finding| now.saturating_duration_since(finding.at) < RECENT);
    }
    if findings.len() >= MAX_ADDRESSES && !findings.contains_key(&diagnosis.address) {
        return None;
    }
    let finding = findings.entry(diagnosis.address.clone()).or_insert_with(|| Finding {
        diagnosis: diagnosis.clone(),
        at: now,
        times: 0,
        told: None,
    });
    let is_old = now.saturating_duration_since(finding.at) >= RECENT;
    if finding.diagnosis.problem != diagnosis.problem || is_old {
        (finding.times, finding.told) = (0, None);
    }
    finding.diagnosis = diagnosis;
    finding.at = now;
    finding.times = finding.times.saturating_add(1);
    let is_told = finding.told.is_some_and(|told| now.saturating_duration_since(told) < REMIND);
    if is_told || !finding.is_sure() {
        return None;
    }
    finding.told = Some(now);
    Some(finding.diagnosis.clone())
}

impl Finding {
    /// A broker that ends closes connections, too, so once proves nothing.
    fn is_sure(&self) -> bool {
        self.times > 1 || !self.diagnosis.said.contains("Disconnected")
    }
}

#[cfg(test)]
mod tests;
