use super::*;
use clap::Parser as _;
use ledgerhook_actors::delivery::client::Kind;
use proptest::prelude::*;
use std::io::Write as _;

fn load(options: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }
    let line = Line::parse_from(["ledgerhook"].iter().chain(options));
    Config::load(&line.options, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn refusal(options: &[&str], variables: &[(&str, &str)]) -> String {
    load(options, variables).expect_err("must be refused").to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn options_win_over_variables_over_file_over_defaults() {
    let file =
        file("[server]\nlisten = '127.0.0.1:1'\nkeep_alive_seconds = 9\n[log]\ndata_dir = 'from-file'\n");
    let path = file.path().to_str().unwrap();
    let config = load(
        &["--config", path, "--listen", "127.0.0.1:3"],
        &[("LEDGERHOOK_LISTEN", "127.0.0.1:2"), ("LEDGERHOOK_DATA_DIR", "from-env")],
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.log.data_dir, PathBuf::from("from-env"));
    assert_eq!(config.server.keep_alive_seconds, 9);
    assert_eq!(config.server.head_timeout_seconds, 5);
}

#[test]
fn every_setting_of_the_file_has_a_variable() {
    let config = load(
        &[],
        &[
            ("LEDGERHOOK_SUPERVISION_RESTARTS_MAX", "7"),
            ("LEDGERHOOK_DELIVERY_EGRESS_ALLOW", "127.0.0.1:80, 10.0.0.0/8"),
            ("LEDGERHOOK_ALLOW_HTTP", "true"),
            ("LEDGERHOOK_TELEMETRY_FORMAT", "json"),
        ],
    )
    .unwrap();
    assert_eq!(config.supervision.restarts_max, 7);
    assert_eq!(config.delivery.egress_allow, ["127.0.0.1:80", "10.0.0.0/8"]);
    assert!(config.delivery.allow_http);
    assert_eq!(config.telemetry.format, Format::Json);
}

#[test]
fn a_client_that_does_not_exist_is_told_with_those_that_do() {
    assert_eq!(load(&["--transport", "awc"], &[]).unwrap().delivery.transport, Kind::Awc);
    assert_eq!(load(&[], &[("LEDGERHOOK_TRANSPORT", "awc")]).unwrap().delivery.transport, Kind::Awc);
    let told = refusal(&["--transport", "curl"], &[]);
    assert!(told.contains("delivery.transport") && told.contains("`direct` or `awc`"), "{told}");
}

#[test]
fn the_defaults_are_the_engines_own() {
    let engine = load(&[], &[]).unwrap().engine();
    let expected = EngineConfig::new("data".into());
    assert_eq!(format!("{engine:?}"), format!("{expected:?}"));
}

#[test]
fn the_resolver_is_the_systems_or_some_name_servers() {
    let of = |text: &str| {
        let file = file(text);
        let path = file.path().to_str().unwrap().to_owned();
        load(&["--config", &path], &[]).map(|config| config.engine().name_servers)
    };
    assert_eq!(of("[egress]\nresolver = 'system'\n").unwrap(), []);
    let servers = of("[egress]\nresolver = ['192.0.2.53', '[2001:db8::53]:5353']\n").unwrap();
    assert_eq!(servers, ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()]);
    assert!(of("[egress]\nresolver = 53\n").unwrap_err().to_string().contains("resolver"));
    let by_variable = load(&[], &[("LEDGERHOOK_EGRESS_RESOLVER", "192.0.2.53, 192.0.2.54")]).unwrap();
    assert_eq!(by_variable.engine().name_servers.len(), 2);
}

/// UPG.5
#[test]
fn an_unknown_key_is_named() {
    let file = file("[server]\nlissten = '127.0.0.1:1'\n");
    let path = file.path().to_str().unwrap();
    let refused = refusal(&["--config", path], &[]);
    assert!(refused.contains("lissten") && refused.contains("listen"), "{refused}");
    assert!(refusal(&[], &[("LEDGERHOOK_LISSTEN", "x")]).contains("LEDGERHOOK_LISSTEN"));
}

/// UPG.5
#[test]
fn a_duplicate_key_is_named() {
    let file = file("[server]\nworkers = 1\nworkers = 2\n");
    let path = file.path().to_str().unwrap();
    assert!(refusal(&["--config", path], &[]).contains("workers"));
    let both = [("LEDGERHOOK_LISTEN", "127.0.0.1:1"), ("LEDGERHOOK_SERVER_LISTEN", "127.0.0.1:2")];
    assert!(refusal(&[], &both).contains("LEDGERHOOK_LISTEN"));
}

/// UPG.5
#[test]
fn a_conflicting_or_malformed_setting_is_named() {
    for (variable, value, setting) in [
        ("LEDGERHOOK_DELIVERY_CONCURRENCY_PER_HOST", "5000", "delivery.concurrency_per_host"),
        ("LEDGERHOOK_DELIVERY_DEAD_LETTERS_MAX", "0", "delivery.dead_letters_max"),
        ("LEDGERHOOK_SUPERVISION_RESTART_BACKOFF_MS", "20000", "supervision.restart_backoff_ms"),
        ("LEDGERHOOK_LISTEN", "nowhere", "server.listen"),
        ("LEDGERHOOK_INTAKE_DEDUP_IDS_MAX", "0", "intake.dedup_ids_max"),
        ("LEDGERHOOK_INTAKE_DEDUP_WINDOW_SECONDS", "0", "intake.dedup_window_seconds"),
        ("LEDGERHOOK_STORE", "floppy", "log.store"),
        ("LEDGERHOOK_LOG_SEGMENT_BYTES", "-1", "log.segment_bytes"),
        ("LEDGERHOOK_LOG_PAYLOAD_DAYS", "0", "log.payload_days"),
        ("LEDGERHOOK_LOG_BYTES_MAX", "100000000", "log.bytes_max"),
        ("LEDGERHOOK_PROFILES", "no/such/folder", "tenants.profiles_dir"),
        ("LEDGERHOOK_EGRESS_RESOLVER", "192.0.2.53,dns.example.com", "egress.resolver"),
        ("LEDGERHOOK_EGRESS_RESOLVER", "system,192.0.2.53", "egress.resolver"),
        ("LEDGERHOOK_EGRESS_RESOLVER", "", "egress.resolver"),
        ("LEDGERHOOK_EGRESS_NAT64_PREFIXES", "64:ff9b:1::/48,2001:db8::/33", "egress.nat64_prefixes"),
    ] {
        let refused = refusal(&[], &[(variable, value)]);
        assert!(refused.contains(setting), "{variable}: {refused}");
    }
    let refused = refusal(&[], &[("LEDGERHOOK_SERVER_WORKERS", "two")]);
    assert!(refused.contains("LEDGERHOOK_SERVER_WORKERS"), "{refused}");
}

/// SEC.7
#[test]
fn a_weak_operator_key_is_for_loopback_only() {
    let weak = ("LEDGERHOOK_OPERATOR_KEY", "short");
    assert!(load(&[], &[weak]).is_ok());
    assert!(refusal(&["--listen", "0.0.0.0:80"], &[weak]).contains("operator_key"));
}

#[test]
fn what_is_printed_holds_no_secret_and_can_be_read_back() {
    let config = load(&[], &[("LEDGERHOOK_OPERATOR_KEY", "canary-of-24-bytes-or-more")]).unwrap();
    let text = config.to_toml().unwrap();
    assert!(!text.contains("canary") && text.contains("***"), "{text}");
    assert!(toml::from_str::<Config>(&text).is_ok());
    assert!(!format!("{config:?}").contains("canary"));
}

/// UPG.5: what `config check` shows is a file, but not one with keys that anybody knows.
#[test]
fn a_mask_is_no_secret() {
    for (variable, setting) in [
        ("LEDGERHOOK_OPERATOR_KEY", "tenants.operator_key"),
        ("LEDGERHOOK_MASTER_KEY", "secrets.master_key"),
        ("LEDGERHOOK_EGRESS_PROXY", "egress.proxy"),
    ] {
        let refused = refusal(&[], &[(variable, "***")]);
        assert!(refused.contains(setting) && refused.contains("***"), "{refused}");
    }
    let key = file("canary-of-a-master-key");
    let path = key.path().to_str().unwrap();
    let config = load(&[], &[("LEDGERHOOK_MASTER_KEY_FILE", path)]).unwrap();
    assert_eq!(config.engine().master_key.as_deref(), Some("canary-of-a-master-key"));
    let shown = file(&config.to_toml().unwrap());
    assert!(load(&["--config", shown.path().to_str().unwrap()], &[]).is_ok());
}

/// UPG.5: `config check` refuses what a start refuses, by name.
#[test]
fn what_no_server_could_start_with_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.toml"), "name = 5\n").unwrap();
    let own = folder.path().to_str().unwrap();
    let problem = |variable: &str, value: &str| {
        load(&[], &[(variable, value)]).unwrap().check_for_start().unwrap_err().to_string()
    };
    for (variable, value, setting) in [
        ("LEDGERHOOK_EGRESS_ALLOW", "nonsense", "delivery.egress_allow"),
        ("LEDGERHOOK_EGRESS_DENY", "10.0.0.0/33", "delivery.egress_deny"),
        ("LEDGERHOOK_TEMPLATE_ENV", "9X", "delivery.template_env"),
        ("LEDGERHOOK_DEFAULT_PROFILE", "nobodys", "tenants.default_profile"),
        ("LEDGERHOOK_PROFILES", own, "tenants.profiles_dir"),
        ("LEDGERHOOK_MASTER_KEY", "short", "secrets.master_key"),
        ("LEDGERHOOK_TELEMETRY_FILTER", "[", "telemetry.filter"),
    ] {
        let told = problem(variable, value);
        assert!(told.contains(&format!("`{setting}`")), "{variable}: {told}");
    }
    assert!(load(&[], &[]).unwrap().check_for_start().is_ok());
    let published = load(&[], &[("LEDGERHOOK_PUBLISHED_IP", "192.0.2.7")]).unwrap();
    assert_eq!(published.engine().published_ips, ["192.0.2.7"]);
}

#[test]
fn variables_that_an_orchestrator_sets_are_passed_over() {
    let set = [
        ("LEDGERHOOK_PORT", "tcp://10.0.0.1:80"),
        ("LEDGERHOOK_SERVICE_HOST", "10.0.0.1"),
        ("LEDGERHOOK_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load(&[], &set).is_ok());
}

/// T-42, SEC.7: mails have a sender, one place to go to, and a password that nobody sees.
#[test]
fn settings_of_mails_that_contradict_each_other_are_named() {
    let with = |more: &[(&'static str, &'static str)]| {
        let mut all =
            vec![("LEDGERHOOK_SMTP_HOST", "smtp.example.com"), ("LEDGERHOOK_SMTP_FROM", "a@example.com")];
        all.extend(more);
        all
    };
    assert!(load(&[], &with(&[])).unwrap().engine().mail.is_some());
    assert!(load(&[], &[]).unwrap().engine().mail.is_none());
    assert!(load(&["--mail-dir", "mails"], &[]).unwrap().engine().mail.is_some());
    for (variable, value, setting) in [
        ("LEDGERHOOK_MAIL_DIR", "mails", "smtp.mail_dir"),
        ("LEDGERHOOK_SMTP_USER", "hooks", "smtp.user"),
        ("LEDGERHOOK_SMTP_PASSWORD", "canary", "smtp.user"),
        ("LEDGERHOOK_SMTP_PASSWORD_FILE", "no/such/file", "smtp.user"),
        ("LEDGERHOOK_SMTP_REPLY_TO", "a@b.c\nBcc: d@e.f", "smtp.reply_to"),
        ("LEDGERHOOK_SMTP_TLS", "maybe", "smtp.tls"),
        ("LEDGERHOOK_SMTP_PORT", "0", "smtp.port"),
        ("LEDGERHOOK_SMTP_PER_HOUR", "0", "smtp.per_hour"),
    ] {
        let refused = refusal(&[], &with(&[(variable, value)]));
        assert!(refused.contains(setting) && !refused.contains("canary"), "{variable}: {refused}");
    }
    assert!(refusal(&["--smtp-host", "smtp.example.com"], &[]).contains("smtp.from"));

    let secret = file("canary-of-a-password\nrest\n");
    let path = secret.path().to_str().unwrap().to_owned().leak();
    let config =
        load(&[], &with(&[("LEDGERHOOK_SMTP_USER", "hooks"), ("LEDGERHOOK_SMTP_PASSWORD_FILE", path)]));
    let config = config.unwrap();
    let shown = format!("{:?} {} {config:?}", config.engine().mail, config.to_toml().unwrap());
    assert!(shown.contains("hooks") && !shown.contains("canary"), "{shown}");
}

/// A configuration file as an operator might write it, and some that they might not.
fn files() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("listen"),
        Just("data_dir"),
        Just("concurrency"),
        Just("concurrency_per_host"),
        Just("egress_allow"),
        Just("tls_cert"),
        Just("proxy"),
        Just("resolver"),
        Just("bytes_max"),
        Just("per_hour"),
        Just("operator_key"),
        Just("transport"),
    ];
    let value = prop_oneof![
        Just("'127.0.0.1:0'".to_owned()),
        Just("'awc'".to_owned()),
        Just("[]".to_owned()),
        Just("['10.0.0.0/33', '', '::/0:99999']".to_owned()),
        Just("{ a = { b = 1 } }".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "[ -~]{0,12}",
    ];
    let line = prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        2 => prop_oneof![Just("server"), Just("delivery"), Just("egress"), Just("log"), Just("smtp"), Just("tenants")]
            .prop_map(|section| format!("[{section}]\n")),
        1 => "\\PC{0,20}\n",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    /// Whatever stands in a file: it is read and can be shown, or it is refused.
    #[test]
    fn no_file_is_too_strange(text in files()) {
        let file = file(&text);
        if let Ok(config) = load(&["--config", file.path().to_str().unwrap()], &[]) {
            let shown = config.to_toml().unwrap();
            prop_assert!(!shown.is_empty());
            let _ = config.engine();
        }
    }
}
