use std::net::TcpListener;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::*;
use crate::{ClientLog, KafkaOptions, hear};

fn read(line: &str) -> Option<(String, Problem)> {
    Diagnosis::read(line).map(|found| (found.address, found.problem))
}

#[test]
fn lines_of_librdkafka_tell_address_and_problem() {
    let told = [
        (
            "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to \
             ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
            "127.0.0.1:1",
            Problem::Refused,
        ),
        (
            "[thrd:GroupCoordinator]: GroupCoordinator/1: kafka-2:9092: Connect to \
             ipv4#10.0.0.2:9092 failed: No route to host (after 3ms in state CONNECT)",
            "kafka-2:9092",
            Problem::NoRoute,
        ),
        (
            "ssl://nowhere.invalid:9092/bootstrap: Failed to resolve 'nowhere.invalid:9092': Name \
             or service not known (after 2ms in state CONNECT)",
            "nowhere.invalid:9092",
            Problem::UnknownHost,
        ),
        (
            "[thrd:sasl_ssl://b:1/3]: sasl_ssl://b:1/3: SASL authentication error: Authentication \
             failed during authentication due to invalid credentials (after 9ms in state AUTH_REQ)",
            "b:1",
            Problem::Login,
        ),
        (
            "sasl_plaintext://b:1/3: SASL PLAIN mechanism handshake failed: Broker: Unsupported \
             SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512 (after 1ms)",
            "b:1",
            Problem::Mechanism,
        ),
        (
            "ssl://[::1]:9093/bootstrap: SSL handshake failed: error:0A000086:SSL \
             routines::certificate verify failed: broker certificate could not be verified, verify",
            "[::1]:9093",
            Problem::Certificate,
        ),
        (
            "ssl://b:1/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version \
             number (after 1ms in state SSL_HANDSHAKE)",
            "b:1",
            Problem::NotTls,
        ),
        (
            "ssl://b:1/bootstrap: Connection setup timed out in state SSL_HANDSHAKE",
            "b:1",
            Problem::NotTls,
        ),
        (
            "ssl://b:1/bootstrap: Connection setup timed out in state CONNECT",
            "b:1",
            Problem::NoAnswer,
        ),
        (
            "b:1/bootstrap: Disconnected: requesting ApiVersion: might be caused by \
             incorrect security.protocol configuration (connecting to a SSL listener?) or broker",
            "b:1",
            Problem::Tls,
        ),
        (
            "b:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after \
             0ms in state APIVERSION_QUERY)",
            "b:1",
            Problem::Tls,
        ),
        ("b:1/1: Receive failed: Invalid frame size 352518912", "b:1", Problem::Tls),
        (
            "b:1/1: Receive failed: Invalid response size 1213486160 (0..1000)",
            "b:1",
            Problem::NotKafka,
        ),
        (
            "b:1/1: Disconnected: verify that security.protocol is correctly \
             configured, broker might require SASL authentication (after 5ms in state UP)",
            "b:1",
            Problem::LoginWanted,
        ),
    ];
    for (line, address, problem) in told {
        assert_eq!(read(line), Some((address.to_owned(), problem)), "{line}");
    }
    for line in [
        "",
        "b:1/1: Disconnected (after 5000ms in state UP)",
        "Connection refused",
        "a: b: Connection refused",
        "[thrd:main]: Consumer group session timed out",
    ] {
        assert_eq!(read(line), None, "{line}");
    }
}

#[test]
fn an_equal_problem_is_told_once_a_minute_and_a_doubtful_one_at_the_second_time() {
    let (mut findings, began) = (BTreeMap::new(), Instant::now());
    let mut note = |problem, seconds| {
        let said = if problem == Problem::Tls { "Disconnected" } else { "" };
        let diagnosis = Diagnosis { address: "b:1".into(), problem, said: said.into() };
        note_at(&mut findings, diagnosis, began + Duration::from_secs(seconds)).is_some()
    };
    assert!(note(Problem::Refused, 0));
    assert!(!note(Problem::Refused, 1) && !note(Problem::Refused, 59));
    assert!(note(Problem::Refused, 61));
    assert!(note(Problem::Login, 62), "another one");
    assert!(!note(Problem::Tls, 63) && note(Problem::Tls, 64) && !note(Problem::Tls, 65));
}

#[test]
fn addresses_that_are_kept_are_bounded() {
    let (mut findings, now) = (BTreeMap::new(), Instant::now());
    for n in 0..1_000 {
        let diagnosis =
            Diagnosis { address: format!("b:{n}"), problem: Problem::Refused, said: String::new() };
        note_at(&mut findings, diagnosis, now);
    }
    assert_eq!(findings.len(), MAX_ADDRESSES);
}

/// What is found at `address` by a client that speaks `protocol`.
fn found(address: &str, protocol: &str) -> Diagnosis {
    let options = KafkaOptions {
        brokers: address.to_owned(),
        security_protocol: protocol.into(),
        sasl_mechanism: "PLAIN".into(),
        sasl_username: "u".into(),
        sasl_password: "p".to_owned().into(),
        ssl_ca_location: String::new(),
        properties: BTreeMap::new(),
    };
    let client: BaseConsumer<ClientLog> =
        options.client_config("test").create_with_context(ClientLog).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let _ = client.fetch_metadata(None, Duration::from_millis(100));
        hear(&client);
        if let Some(found) = recent().into_iter().find(|found| found.address == address) {
            return found;
        }
        assert!(Instant::now() < until, "nothing is told of {address}");
    }
}

/// A server that says `answer` to each client that has said something, and hangs up.
fn server(answer: &'static [u8]) -> String {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let mut buffer = [0; 1024];
            let _ = client.read(&mut buffer);
            let _ = client.write_all(answer);
        }
    });
    address
}

#[test]
fn a_port_where_nothing_listens_and_a_host_without_name_are_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let refused = found(&free, "plaintext");
    assert_eq!(refused.problem, Problem::Refused);
    assert!(refused.to_string().contains("kafka.brokers"), "{refused}");
    assert_eq!(found("nowhere.invalid:9092", "plaintext").problem, Problem::UnknownHost);
}

#[test]
fn ports_that_speak_something_else_are_told() {
    // A broker without TLS hangs up, one with TLS sends an alert.
    assert_eq!(found(&server(b""), "ssl").problem, Problem::NotTls);
    assert_eq!(found(&server(b"\x15\x03\x03\0\x02\x02\x46"), "plaintext").problem, Problem::Tls);
    assert_eq!(found(&server(b""), "plaintext").problem, Problem::Tls);
    assert_eq!(
        found(&server(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "plaintext").problem,
        Problem::NotKafka
    );
}
