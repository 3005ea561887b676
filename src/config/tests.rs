use super::*;

fn load(file: Option<&Path>, args: &[&str], vars: &[(&str, &str)]) -> Result<Loaded> {
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Loaded::from_layers(file, &args, vars.collect::<Vec<_>>().into_iter())
}

fn refusal(args: &[&str], vars: &[(&str, &str)]) -> String {
    let Err(error) = load(None, args, vars) else { panic!("{args:?} {vars:?} was accepted") };
    format!("{error:#}")
}

fn origin_of(loaded: &Loaded, key: &str) -> String {
    loaded.show().unwrap().into_iter().find(|s| s.key == key).unwrap().origin
}

#[test]
fn the_default_file_is_complete_and_valid() {
    let loaded = load(None, &[], &[]).unwrap();
    assert!(loaded.is_default("kafka.brokers"));
    assert!(loaded.show().unwrap().iter().all(|s| s.origin == "default"));
}

#[test]
fn each_layer_overrides_the_one_before() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), "[topics]\nprefix = \"file.\"\npartitions = 3\norders = \"o\"\n")
        .unwrap();
    let vars = [("COMANDA__TOPICS__PARTITIONS", "4"), ("COMANDA__TOPICS__ORDERS", "7")];
    let loaded = load(Some(file.path()), &["topics.partitions=5"], &vars).unwrap();
    assert_eq!(loaded.settings.topics.prefix, "file.");
    assert_eq!(loaded.settings.topics.orders, "7");
    assert_eq!(loaded.settings.topics.partitions, 5);
    assert_eq!(origin_of(&loaded, "topics.prefix"), file.path().display().to_string());
    assert_eq!(origin_of(&loaded, "topics.orders"), "environment");
    assert_eq!(origin_of(&loaded, "topics.partitions"), "command line");
    assert_eq!(origin_of(&loaded, "topics.payments"), "default");
}

#[test]
fn mistakes_are_named_with_their_key() {
    assert!(refusal(&["topics.partition=5"], &[]).contains("topics.partition"));
    assert!(refusal(&[], &[("COMANDA__KAFKA__BROKER", "x")]).contains("COMANDA__KAFKA__BROKER"));
    assert!(refusal(&["topics.partitions=many"], &[]).contains("topics.partitions"));
    assert!(refusal(&["admin.listen=nowhere"], &[]).contains("admin.listen"));
    assert!(refusal(&["engine.drain_ms=999999"], &[]).contains("engine.drain_ms"));
    assert!(refusal(&["topics.prefix=a b"], &[]).contains("topic names"));
    assert!(refusal(&["no-equals-sign"], &[]).contains("section.key=value"));
    assert!(refusal(&["gateway.max_depth=1000"], &[]).contains("max_depth"));
    assert!(refusal(&["gateway.request_timeout_ms=10000"], &[]).contains("request_timeout_ms"));
    assert!(refusal(&["gateway.customer_burst=99"], &[]).contains("customer_burst"));
    assert!(refusal(&[r#"gateway.trusted_proxies=["x"]"#], &[]).contains("trusted_proxies"));
    assert!(refusal(&["gateway.forwarded_header=via"], &[]).contains("forwarded_header"));
    assert!(refusal(&["payment.provider_url=foo"], &[]).contains("payment.provider_url"));
    assert!(refusal(&["producer.compression=foo"], &[]).contains("producer"));
    assert!(refusal(&["kafka.security_protocol=foo"], &[]).contains("kafka"));
    assert!(refusal(&["engine.breaker_dead_percent=200"], &[]).contains("breaker_dead_percent"));
    assert!(refusal(&["store.url=mysql://x"], &[]).contains("store.url"));
    assert!(refusal(&["store.statement_timeout_ms=0"], &[]).contains("statement_timeout_ms"));
    let key = r#"gateway.api_keys=[{ name = "a", sha256 = "12", role = "operator" }]"#;
    assert!(refusal(&[key], &[]).contains("sha256"));
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), "[gatway]\nlisten = \"x\"\n").unwrap();
    let Err(error) = load(Some(file.path()), &[], &[]) else { panic!("accepted") };
    assert!(format!("{error:#}").contains("gatway"), "{error:#}");
}

#[test]
fn a_public_mail_provider_needs_its_address() {
    let refused = refusal(&["notifier.provider=postmark"], &[]);
    assert!(refused.contains("notifier.provider_url"), "{refused}");
    assert!(refused.contains("https://api.postmarkapp.com"), "{refused}");
    let url = "notifier.provider_url=https://api.postmarkapp.com";
    load(None, &["notifier.provider=postmark", url], &[]).unwrap();
    load(None, &["notifier.provider=mailpit", "notifier.api_key="], &[]).unwrap();
    assert!(refusal(&["notifier.provider=postmarc", url], &[]).contains("notifier.provider"));
}

#[test]
fn librdkafkas_own_properties_pass_through() {
    let args = ["kafka.properties.socket.timeout.ms=1000"];
    let vars = [("COMANDA__KAFKA__PROPERTIES__SOCKET_KEEPALIVE_ENABLE", "true")];
    let properties = load(None, &args, &vars).unwrap().settings.kafka.properties;
    assert_eq!(properties["socket.timeout.ms"], "1000");
    assert_eq!(properties["socket.keepalive.enable"], "true");
}

#[test]
fn no_login_of_a_url_is_shown() {
    for url in [
        "postgres://user:hunter2@db:5432/orders?sslmode=require",
        "postgres://:hunter2@db/orders?sslmode=require",
        "postgres://db/orders?user=user&password=hunter2&sslmode=require",
        "postgresql:///orders?sslmode=require&password=hunter2&host=/run/postgresql",
    ] {
        let shown = without_login(url);
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
        assert!(shown.contains("orders?sslmode=require"), "{shown}");
    }
    for url in ["sqlite://orders.db", "sqlite:///var/lib/a%20b.db?mode=rw", "postgres://db/orders"]
    {
        assert_eq!(without_login(url), url);
    }
}

#[test]
fn no_secret_is_shown() {
    let args = [
        "kafka.sasl_password=hunter2",
        "registry.password=hunter2",
        "payment.secret_key=hunter2",
        "gateway.webhook.stripe_secrets=[\"hunter2\"]",
        "notifier.api_key=hunter2",
        "sandbox.api_key=hunter2",
        "gateway.jwt.secret=hunter2-hunter2-hunter2-hunter2-hunter2",
        "gateway.jwt.issuer=https://issuer.example",
        "gateway.jwt.audience=comanda",
        "kafka.properties.ssl.key.password=hunter2",
        "registry.url=http://user:hunter2@127.0.0.1:8081",
        "store.url=postgres://user:hunter2@127.0.0.1/orders",
    ];
    let shown = load(None, &args, &[]).unwrap().show().unwrap();
    assert_eq!(shown.iter().filter(|s| s.origin == "command line").count(), args.len());
    for setting in shown {
        assert!(!setting.value.contains("hunter2"), "{} is shown", setting.key);
    }
}
