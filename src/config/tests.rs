use super::*;

fn load(file: Option<&Path>, args: &[&str], vars: &[(&str, &str)]) -> Result<Loaded> {
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let vars = vars.iter().map(|(k, v)| (OsString::from(*k), OsString::from(*v)));
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
fn no_secret_is_shown() {
    let args = [
        "kafka.sasl_password=hunter2",
        "registry.password=hunter2",
        "payment.secret_key=hunter2",
        "gateway.webhook.stripe_secrets=[\"whsec_hunter2\"]",
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

/// The value of which no error may tell.
const SECRET: &str = "hunter2";

#[test]
fn no_error_repeats_the_value_of_a_setting() {
    let key = |sha256: &str, role: &str| {
        format!(r#"gateway.api_keys=[{{ name = "a", sha256 = "{sha256}", role = "{role}" }}]"#)
    };
    let (hash, role) = (key("hunter2", "operator"), key(&"0".repeat(64), "hunter2"));
    for wrong in [
        "gateway.webhook.stripe_secrets=hunter2",
        "gateway.webhook.stripe_secrets=[\"hunter2]",
        "gateway.webhook.stripe_secrets=[\"hunter2\"]",
        "gateway.webhook.stripe_secrets=\"hunter2\"",
        "gateway.api_keys=\"hunter2",
        "gateway.api_keys=[\"hunter2\"]",
        "gateway.api_keys=[{ hunter2 }]",
        "gateway.introspection=hunter2",
        "gateway.listen=hunter2",
        "gateway.trusted_proxies=[\"hunter2\"]",
        "gateway.cors_origins=[\"hunter2\"]",
        "gateway.jwt.leeway_seconds=\"hunter2\"",
        "gateway.jwt.secret=hunter2",
        "gateway.jwt.jwks_url=hunter2",
        "gateway.access_log=\"hunter2\"",
        "kafka=hunter2",
        "kafka.sasl_pasword=hunter2",
        "kafka.security_protocol=hunter2",
        "kafka.properties.sasl.passwort=hunter2",
        "kafka.properties.socket.timeout.ms=hunter2",
        "kafka.properties.sasl.jaas.config=hunter2",
        "kafka.properties.debug=hunter2",
        "producer.compression=hunter2",
        "topics.partitions=hunter2",
        "topics.partitions=\"hunter2\"",
        "topics.prefix=hunter2 hunter2",
        "registry.url=hunter2",
        "registry.auto_register=\"hunter2\"",
        "payment.provider=hunter2",
        "payment.provider_url=hunter2",
        "payment.secret_key=hunter2\n",
        "notifier.from=hunter2",
        "notifier.language=hunter2",
        "notifier.api_key=hunter2\n",
        "store.url=hunter2://x",
        "store.url=postgres://comanda:hunter2#@db/orders",
        "store.url=postgres://db/orders?sslmode=hunter2",
        "log.level=hunter2=hunter2=hunter2",
        "log.format=hunter2",
        &hash,
        &role,
    ] {
        let (key, value) = wrong.split_once('=').unwrap();
        let section = key.split('.').next().unwrap();
        let told = refusal(&[wrong], &[]);
        assert!(!told.contains(SECRET), "{wrong}: {told}");
        assert!(told.contains(section), "{wrong}: {told}");
        let name = format!("{}{}", layers::ENV_PREFIX, key.to_uppercase().replace('.', "__"));
        if !key.starts_with("kafka.properties") {
            let told = refusal(&[], &[(&name, value)]);
            assert!(!told.contains(SECRET), "{wrong}: {told}");
        }
    }
    assert!(!refusal(&["kafka.sasl_password hunter2"], &[]).contains(SECRET));
}

#[test]
fn no_error_repeats_what_stands_in_a_file() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    for (text, place) in [
        ("[payment]\nsecret_key = hunter2\n", "line 2, column 14"),
        ("[payment]\nsecret_key = \"hunter2\n", "line 2"),
        ("[payment]\nsecret_kye = \"hunter2\"\n", "payment.secret_kye"),
        ("[payment]\nsecret_key = \"a\"\nsecret_key = \"hunter2\"\n", "line 3"),
        ("[payment]\nsecret_key = [\"hunter2\"]\n", "payment.secret_key"),
        ("[gateway.webhook]\nstripe_secrets = \"hunter2\"\n", "gateway.webhook.stripe_secrets"),
        ("[gateway.jwt]\nsecret = { a = \"hunter2\" }\n", "gateway.jwt.secret"),
        ("payment = \"hunter2\"\n", "payment"),
        ("hunter2", "line 1"),
        ("[payment\nhunter2", "line 1"),
        ("a = \"\\hunter2\"", "line 1"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let Err(error) = load(Some(file.path()), &[], &[]) else { panic!("{text} was accepted") };
        let told = format!("{error:#}");
        assert!(!told.contains(SECRET), "{text}: {told}");
        assert!(told.contains(place), "{text}: {told}");
    }
    std::fs::write(file.path(), b"a = \"hunter2\xff\"").unwrap();
    let Err(error) = load(Some(file.path()), &[], &[]) else { panic!("not UTF-8") };
    assert!(!format!("{error:#}").contains(SECRET), "{error:#}");
}

#[test]
fn a_masked_secret_is_not_taken_for_a_value() {
    for masked in [
        "payment.secret_key=********",
        "registry.url=http://********@127.0.0.1:8081/",
        "gateway.webhook.stripe_secrets=[\"********\"]",
        "gateway.api_keys=[{ name = \"a\", sha256 = \"********\", role = \"operator\" }]",
        "kafka.properties.ssl.key.password=********",
    ] {
        let told = refusal(&[masked], &[]);
        assert!(told.contains("config show"), "{told}");
        assert!(told.contains(masked.split_once('=').unwrap().0), "{told}");
    }
}

#[test]
fn a_webhook_secret_is_as_stripe_shows_it() {
    let refused = |secret: &str| {
        let quoted = toml::Value::from(vec![secret]).to_string();
        let setting = format!("gateway.webhook.stripe_secrets={quoted}");
        load(None, &[&setting], &[]).err().map(|error| format!("{error:#}"))
    };
    assert_eq!(refused("whsec_Ab0+/_-="), None);
    for wrong in [
        "",
        "whsec_",
        "whsec_a\n",
        " whsec_a",
        "\"whsec_a\"",
        "'whsec_a'",
        "whsec_a b",
        "sk_live_a",
        "a",
    ] {
        let told = refused(wrong).unwrap_or_else(|| panic!("{wrong:?} was accepted"));
        assert!(told.contains("webhook.stripe_secrets"), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_matters_only_where_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let load = |name: &[u8], value: &[u8]| {
        let vars = [(OsString::from_vec(name.into()), OsString::from_vec(value.into()))];
        Loaded::from_layers(None, &[], vars.into_iter()).map_err(|error| format!("{error:#}"))
    };
    assert!(load(b"OTHER", b"\xff").is_ok());
    assert!(load(b"\xff", b"a").is_ok());
    let told = load(b"COMANDA__TOPICS__PREFIX", b"hunter2\xff").err().unwrap();
    assert!(told.contains("COMANDA__TOPICS__PREFIX") && !told.contains(SECRET), "{told}");
    assert!(load(b"COMANDA__TOPICS__\xff", b"a").is_err());
}
