//! Nothing that a client sends disturbs the service.

use livepatch::control::MAX_REQUEST;
use proptest::prelude::*;

use super::*;

/// Returns the kinds of answers to these bytes: the codes of errors, otherwise the answers' names.
fn kinds(service: &Service, bytes: &[u8]) -> Vec<String> {
    let kind = |answer: serde_json::Value| {
        assert_eq!(answer["v"], 1);
        let key = if answer["answer"] == "error" { "code" } else { "answer" };
        answer[key].as_str().unwrap().to_owned()
    };
    let kinds = service.exchange(bytes).into_iter().map(kind).collect();
    // The service continues.
    assert!(service.client().status().unwrap().patches.is_empty());
    kinds
}

#[test]
fn after_a_bad_line_the_next_is_heard() {
    let service = Service::new();
    let good = b"{\"v\":1,\"request\":\"list\"}\n";
    let bad: [(&[u8], &str); 9] = [
        (b"\n", "bad_request"),
        (b"hello\n", "bad_request"),
        (b"\xff\xff\xff\n", "bad_request"),
        (b"{\"v\":1}\n", "bad_request"),
        (b"{\"v\":1,\"request\":[\"list\"]}\n", "bad_request"),
        (b"{\"v\":1,\"request\":\"load\",\"path\":5}\n", "bad_request"),
        (b"{\"v\":1,\"request\":\"list\",\"extra\":5}\n", "bad_request"),
        (b"{\"v\":1,\"request\":\"reboot\"}\n", "unknown_request"),
        (b"{\"v\":9,\"request\":\"list\"}\n", "unsupported_version"),
    ];
    for (line, code) in bad {
        assert_eq!(kinds(&service, &[line, good].concat()), [code, "patches"]);
    }
}

#[test]
fn half_a_line_is_not_carried_out() {
    let service = Service::new();
    registry().enable(&patch("p")).unwrap();
    let whole = b"{\"v\":1,\"request\":\"disable\",\"patch\":\"p\"}";
    for end in [1, 10, whole.len() - 1, whole.len()] {
        let answers = service.exchange(&whole[..end]);
        assert_eq!(answers[0]["code"], "bad_request");
        assert_eq!(answers.len(), 1);
    }
    assert!(registry().patch("p").is_some());
    assert!(service.exchange(b"").is_empty());
}

#[test]
fn deep_json_is_refused() {
    let service = Service::new();
    let arrays = ["[".repeat(MAX_REQUEST - 1), "\n".to_owned()].concat();
    assert_eq!(kinds(&service, arrays.as_bytes()), ["bad_request"]);
    let objects = ["{\"a\":".repeat(10_000), "\n".to_owned()].concat();
    assert_eq!(kinds(&service, objects.as_bytes()), ["bad_request"]);
}

#[test]
fn lines_have_a_greatest_length() {
    let service = Service::new();
    let line = |length: usize| {
        let mut line = b"{\"v\":1,\"request\":\"list\"}".to_vec();
        line.resize(length, b' ');
        line.push(b'\n');
        line
    };
    assert_eq!(kinds(&service, &line(MAX_REQUEST)), ["patches"]);
    assert_eq!(kinds(&service, &line(MAX_REQUEST + 1)), ["too_long"]);
    // Megabytes, with and without an end: the connection is closed, before or after the answer could be read.
    let answers = kinds(&service, &line(8 << 20));
    assert!(answers.is_empty() || answers == ["too_long"], "{answers:?}");
    let answers = kinds(&service, &vec![b'x'; 8 << 20]);
    assert!(answers.is_empty() || answers == ["too_long"], "{answers:?}");
}

#[test]
fn who_is_slow_is_told_and_dropped() {
    let service = Service::with(|builder| builder.timeout(Duration::from_millis(50)));
    for begun in [&b""[..], b"{\"v\":1,"] {
        let mut stream = service.stream();
        stream.write_all(begun).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"timed_out\""), "{answer}");
    }
    // An occasional byte does not keep the connection alive.
    let mut stream = service.stream();
    let mut sent = 0;
    while stream.write_all(b" ").is_ok() {
        thread::sleep(Duration::from_millis(5));
        sent += 1;
        assert!(sent < 10_000, "it is never dropped");
    }
    assert!(service.client().status().is_ok());
}

#[test]
fn clients_may_go_at_any_time() {
    let service = Service::new();
    registry().enable(&patch("p")).unwrap();
    registry().wait(LONG).unwrap();
    let _busy = Busy::new("slow");
    let requests = [
        "{\"v\":1,\"request\":\"status\"}\n",
        "{\"v\":1,\"request\":\"disable\",\"patch\":\"p\",\"wait_ms\":600000}\n",
        "{\"v\":1,\"request\":\"watch\"}\n",
    ];
    for request in requests {
        for _ in 0..10 {
            service.stream().write_all(request.as_bytes()).unwrap();
        }
    }
    assert_eq!(service.client().status().unwrap().patches.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_get_answers_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let service = Service::new();
        for kind in kinds(&service, &bytes) {
            prop_assert_eq!(kind, "bad_request");
        }
    }

    /// A request with some bytes changed.
    #[test]
    fn so_do_broken_requests(changes in proptest::collection::vec((0_usize..40, any::<u8>()), 1..4)) {
        let service = Service::new();
        let mut line = b"{\"v\":1,\"request\":\"disable\",\"patch\":\"p\"}\n".to_vec();
        for (place, byte) in changes {
            line[place] = byte;
        }
        for kind in kinds(&service, &line) {
            prop_assert!(["bad_request", "unknown_request", "unsupported_version", "unknown_patch"].contains(&&*kind));
        }
    }
}
