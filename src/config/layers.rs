//! Lays the sources over each other as one TOML table, so that every rule of the sections holds for all of them.

use super::{Config, ConfigError, Secret, Smtp};
use crate::cli::Options;
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

const PREFIX: &str = "LEDGERHOOK_";

/// Where a setting stands in the file: section and key.
type Place = (&'static str, &'static str);

/// Variables whose names follow an option instead of the place in the file.
const SHORT: [(&str, Place); 20] = [
    ("LISTEN", ("server", "listen")),
    ("INBOX", ("server", "inbox")),
    ("DATA_DIR", ("log", "data_dir")),
    ("STORE", ("log", "store")),
    ("LOG_FORMAT", ("telemetry", "format")),
    ("LOG_FILTER", ("telemetry", "filter")),
    ("TRANSPORT", ("delivery", "transport")),
    ("ALLOW_HTTP", ("delivery", "allow_http")),
    ("EGRESS_ALLOW", ("delivery", "egress_allow")),
    ("EGRESS_DENY", ("delivery", "egress_deny")),
    ("PUBLISHED_IP", ("egress", "published_ips")),
    ("PUBLISHED_IPS", ("egress", "published_ips")),
    ("TLS_ROOTS", ("delivery", "tls_roots")),
    ("TEMPLATE_ENV", ("delivery", "template_env")),
    ("MAIL_DIR", ("smtp", "mail_dir")),
    ("PROFILES", ("tenants", "profiles_dir")),
    ("DEFAULT_PROFILE", ("tenants", "default_profile")),
    ("OPERATOR_KEY", ("tenants", "operator_key")),
    ("MASTER_KEY", ("secrets", "master_key")),
    ("MASTER_KEY_FILE", ("secrets", "master_key_file")),
];

/// The merged configuration, checked for shape but not for sense.
pub(super) fn merge(
    options: &Options,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let variables = Variables::gather(variables)?;
    let file = options.config.clone().or_else(|| variables.config.clone());
    let mut table = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
    for (place, value) in variables.settings.into_iter().chain(given(options)) {
        put(&mut table, place, value);
    }
    serde_path_to_error::deserialize(table).map_err(|error| ConfigError::Setting {
        setting: error.path().to_string(),
        problem: error.inner().message().to_owned(),
    })
}

/// Reads the file for its own sake first: its errors then show the line.
fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let refused = |source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) };
    toml::from_str::<Config>(&text).map_err(refused)?;
    toml::from_str(&text).map_err(refused)
}

fn put(table: &mut Table, (section, key): (String, String), value: Value) {
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key, value);
    }
}

/// The options that were given.
fn given(options: &Options) -> Vec<((String, String), Value)> {
    let Options {
        config: _,
        listen,
        inbox,
        data_dir,
        log_format,
        transport,
        allow_http,
        egress_allow,
        egress_deny,
        published_ip,
        store,
        profiles,
        default_profile,
        tls_roots,
        template_env,
        smtp_host,
        smtp_from,
        mail_dir,
    } = options;
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let list = |values: &Vec<String>| (!values.is_empty()).then(|| Value::from(values.clone()));
    let flag = |value: bool| value.then_some(Value::Boolean(true));
    let all = [
        ("server", "listen", text(listen)),
        ("server", "inbox", text(inbox)),
        ("log", "data_dir", text(data_dir)),
        ("log", "store", text(store)),
        ("telemetry", "format", text(log_format)),
        ("delivery", "transport", text(transport)),
        ("delivery", "allow_http", flag(*allow_http)),
        ("delivery", "egress_allow", list(egress_allow)),
        ("delivery", "egress_deny", list(egress_deny)),
        ("egress", "published_ips", list(published_ip)),
        ("delivery", "tls_roots", list(tls_roots)),
        ("delivery", "template_env", list(template_env)),
        ("smtp", "host", text(smtp_host)),
        ("smtp", "from", text(smtp_from)),
        ("smtp", "mail_dir", text(mail_dir)),
        ("tenants", "profiles_dir", text(profiles)),
        ("tenants", "default_profile", text(default_profile)),
    ];
    let named = |(section, key, value): (&str, &str, Option<Value>)| {
        value.map(|value| ((section.to_owned(), key.to_owned()), value))
    };
    all.into_iter().filter_map(named).collect()
}

/// What the environment says.
#[derive(Default)]
struct Variables {
    config: Option<PathBuf>,
    settings: Vec<((String, String), Value)>,
}

impl Variables {
    fn gather(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let shape = shape()?;
        let mut gathered = Self::default();
        let mut seen: Vec<((String, String), String)> = Vec::new();
        let mut variables: Vec<_> = variables.collect();
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            let refused = |problem: String| ConfigError::Variable { name: name.to_owned(), problem };
            let short = &name[PREFIX.len()..];
            if is_foreign(short) {
                continue;
            }
            if short == "CONFIG" {
                gathered.config = Some(value.into());
                continue;
            }
            let place = place(short, &shape).ok_or_else(|| refused("no setting has this name".into()))?;
            let text = value.to_str().ok_or_else(|| refused("is not UTF-8".into()))?;
            if let Some((_, other)) = seen.iter().find(|(seen, _)| *seen == place) {
                return Err(refused(format!("sets the same as `{other}`")));
            }
            let value = parse(text, &shape[&place.0][&place.1]).map_err(refused)?;
            seen.push((place.clone(), name.to_owned()));
            gathered.settings.push((place, value));
        }
        Ok(gathered)
    }
}

/// Variables with our prefix that mean nothing to us: failpoints belong to the chaos build, and an orchestrator
/// describes a service called `ledgerhook` in variables of its own.
fn is_foreign(short: &str) -> bool {
    short == "FAILPOINTS" || short == "PORT" || short.starts_with("PORT_") || short.starts_with("SERVICE_")
}

/// Every setting with a value of its type.
fn shape() -> Result<Table, ConfigError> {
    let mut all = Config::default();
    all.server.inbox = Some(all.server.listen);
    all.egress.published_from = Some(String::new());
    all.egress.proxy = Some(Secret(String::new()));
    all.egress.bind_address = Some(all.server.listen.ip());
    (all.server.tls_cert, all.server.tls_key) = (Some(PathBuf::new()), Some(PathBuf::new()));
    all.server.tls_client_ca = Some(PathBuf::new());
    (all.log.payload_days, all.log.bytes_max) = (Some(0), Some(0));
    all.secrets.master_key = Some(Secret(String::new()));
    all.secrets.master_key_file = Some(PathBuf::new());
    all.tenants.profiles_dir = Some(PathBuf::new());
    all.tenants.operator_key = Some(Secret(String::new()));
    let text = || Some(String::new());
    let (password, password_file, mail_dir) =
        (Some(Secret(String::new())), Some(PathBuf::new()), Some(PathBuf::new()));
    let (host, user, from, reply_to) = (text(), text(), text(), text());
    all.smtp = Smtp { host, user, password, password_file, from, reply_to, mail_dir, ..all.smtp };
    Table::try_from(all)
        .map_err(|error| ConfigError::Setting { setting: "defaults".into(), problem: error.to_string() })
}

/// Where the variable's setting stands.
fn place(short: &str, shape: &Table) -> Option<(String, String)> {
    if let Some((_, (section, key))) = SHORT.iter().find(|(name, _)| *name == short) {
        return Some(((*section).to_owned(), (*key).to_owned()));
    }
    let (section, key) = short.split_once('_')?;
    let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
    let known = shape.get(&section)?.get(&key).is_some();
    known.then_some((section, key))
}

/// Reads a variable as the type of `like`.
fn parse(text: &str, like: &Value) -> Result<Value, String> {
    match like {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| "is not a whole number".to_owned()),
        Value::Boolean(_) => match text {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err("is neither `true` nor `false`".to_owned()),
        },
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(Value::from).collect()))
        }
        _ => Ok(Value::from(text)),
    }
}
