//! Where settings come from: files, `.env` and the environment, each over the one before.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Format as _, Json, Toml},
    value::{Dict, Value},
};

use super::{
    SettingError,
    catalog::{LATER_FAMILIES, OWN_FAMILIES, SETTINGS, Setting},
};

/// Names longer than this are compared with the known ones, to find misspelt variables of the environment.
const TELLING: usize = 6;

/// Where a value stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A variable of the environment.
    Environment,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A value that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The name it was given under.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// The values given, by the settings' first names.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) known: BTreeMap<&'static str, Given>,
    /// Settings of families that later versions read.
    pub(crate) later: Vec<Given>,
    pub(crate) errors: Vec<SettingError>,
}

impl Values {
    /// Reads every source there is in `folder`.
    pub(crate) fn read(folder: &Path, environment: &BTreeMap<String, String>) -> Self {
        let mut values = Self::default();
        let from_environment = |names: [&str; 2]| {
            names.iter().find_map(|name| environment.get(*name)).filter(|text| !text.trim().is_empty())
        };
        match from_environment(["CONFIG_FILE", "CONFIG_FILE"]) {
            Some(path) => {
                let path = folder.join(path);
                if path.is_file() {
                    values.read_file(&path);
                } else {
                    let problem = format!("there is no file {}", path.display());
                    values.errors.push(SettingError::new("CONFIG_FILE", &Source::Environment, problem));
                }
            }
            None => {
                if let Some(path) =
                    ["crm.toml", "config.local.json"].map(|name| folder.join(name)).iter().find(|path| path.is_file())
                {
                    values.read_file(path);
                }
            }
        }
        let production =
            from_environment(["APP_ENV", "NODE_ENV"]).map(String::as_str).or_else(|| values.text("APP_ENV"))
                == Some("production");
        let dot_env = folder.join(".env");
        if !production && dot_env.is_file() {
            values.read_dot_env(&dot_env);
        }
        values.read_environment(environment);
        values
    }

    /// The text of a setting, where it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.known.get(name).map(|given| given.text.as_str())
    }

    fn read_file(&mut self, path: &Path) {
        let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let figment = if json { Figment::from(Json::file(path)) } else { Figment::from(Toml::file(path)) };
        let source = Source::File(path.to_owned());
        match figment.extract::<Dict>() {
            Ok(dict) => {
                let mut pairs = Vec::new();
                flatten("", &dict, &mut pairs);
                self.take(pairs, &source, true);
            }
            Err(error) => {
                self.errors.push(SettingError::new("CONFIG_FILE", &source, format!("cannot be read: {error}")));
            }
        }
    }

    fn read_dot_env(&mut self, path: &Path) {
        let source = Source::File(path.to_owned());
        let lines = match dotenvy::from_path_iter(path) {
            Ok(lines) => lines,
            Err(error) => {
                self.errors.push(SettingError::new(".env", &source, format!("cannot be read: {error}")));
                return;
            }
        };
        let mut pairs = Vec::new();
        for line in lines {
            match line {
                Ok(pair) => pairs.push(pair),
                // The error itself shows the line, which may hold a secret.
                Err(_malformed) => {
                    self.errors.push(SettingError::new(
                        ".env",
                        &source,
                        "has a line that is not NAME=value".to_owned(),
                    ));
                }
            }
        }
        self.take(pairs, &source, true);
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>) {
        let pairs = environment.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        self.take(pairs, &Source::Environment, false);
    }

    /// Takes what one source gives, over what was there. `ours` says that every name in it is meant for us.
    fn take(&mut self, pairs: Vec<(String, String)>, source: &Source, ours: bool) {
        let mut here: BTreeMap<&'static str, Given> = BTreeMap::new();
        for (name, text) in pairs {
            let text = text.trim().to_owned();
            let upper = if ours { name.to_ascii_uppercase() } else { name.clone() };
            let Some(setting) = find(&upper) else {
                if LATER_FAMILIES.iter().any(|family| upper.starts_with(family)) && !text.is_empty() {
                    self.later.push(Given { name: upper, text, source: source.clone() });
                } else if let Some(problem) = misspelt(&upper, ours) {
                    self.errors.push(SettingError::new(&name, source, problem));
                }
                continue;
            };
            // An empty value is how templates say that there is none.
            if text.is_empty() {
                continue;
            }
            let given = Given { name: upper, text, source: source.clone() };
            if let Some(other) = here.get(setting.name)
                && other.text != given.text
            {
                let problem = format!("is the same setting as {}, with another value", other.name);
                self.errors.push(SettingError::new(&given.name, source, problem));
            }
            here.insert(setting.name, given);
        }
        self.known.extend(here);
    }
}

/// The setting of a name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.is_named(name))
}

/// What to say of a name that is no setting; nothing where it is somebody else's variable.
fn misspelt(name: &str, ours: bool) -> Option<String> {
    let names = SETTINGS.iter().flat_map(|setting| std::iter::once(&setting.name).chain(setting.aliases));
    let (distance, nearest) = names.map(|known| (strsim::damerau_levenshtein(known, name), *known)).min()?;
    let close = distance <= 2 && nearest.len() > TELLING;
    if close || (ours && distance <= 3) {
        return Some(format!("is not a setting; {nearest} is meant?"));
    }
    let own = OWN_FAMILIES.iter().any(|family| name.starts_with(family));
    (ours || own).then(|| "is not a setting; `crm-http check-config` lists those there are".to_owned())
}

/// Names of nested tables are joined: `[smtp] host` is `SMTP_HOST`.
fn flatten(prefix: &str, dict: &Dict, pairs: &mut Vec<(String, String)>) {
    for (key, value) in dict {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}_{key}") };
        match value {
            Value::Dict(_, inner) => flatten(&name, inner, pairs),
            Value::Array(_, items) => {
                let items: Vec<String> = items.iter().map(scalar).collect();
                pairs.push((name, items.join(",")));
            }
            value => pairs.push((name, scalar(value))),
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Char(_, character) => character.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        _ => String::new(),
    }
}
