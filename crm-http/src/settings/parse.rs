//! Reading the values of settings.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use crm_core::limit::Policy;
use ipnet::IpNet;
use url::Url;

/// A time such as `15m`, `7d`, `500ms`, or a bare number of `unit`.
pub(crate) fn duration(text: &str, unit: Duration) -> Result<Duration, String> {
    const WRONG: &str = "must be a time such as 500ms, 30s, 15m, 12h or 7d";
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at_checked(digits).ok_or(WRONG)?;
    let number: u32 = number.parse().map_err(|_| WRONG)?;
    let unit = match name.trim() {
        "" => unit,
        "ms" => Duration::from_millis(1),
        name => self::unit(name).ok_or(WRONG)?,
    };
    unit.checked_mul(number).ok_or_else(|| WRONG.to_owned())
}

fn unit(name: &str) -> Option<Duration> {
    Some(Duration::from_secs(match name {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 60 * 60,
        "d" | "day" | "days" => 24 * 60 * 60,
        "w" | "week" | "weeks" => 7 * 24 * 60 * 60,
        _ => return None,
    }))
}

/// A size such as `500MB` or `1GiB`, or a bare number of bytes: 1 KB to 1 TiB.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const WRONG: &str = "must be a size between 1KB and 1TiB, such as 500MB, 1GiB or a number of bytes";
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(WRONG)?;
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(WRONG.to_owned()),
    };
    let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    bytes.filter(|bytes| (1000..=1 << 40).contains(bytes)).ok_or_else(|| WRONG.to_owned())
}

/// Limits such as `100/min,1000/h`; none for `off`. Each gets the next of `names`.
pub(crate) fn policies(text: &str, names: &[&'static str]) -> Result<Vec<Policy>, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > names.len() {
        return Err(format!("takes at most {} limits", names.len()));
    }
    parts.into_iter().zip(names).map(|(part, name)| policy(part, name)).collect()
}

fn policy(text: &str, name: &'static str) -> Result<Policy, String> {
    const WRONG: &str = "must be limits such as 100/min or 10/15min, separated by commas, or off";
    let (count, period) = text.split_once('/').ok_or(WRONG)?;
    let limit = self::count(count).ok_or(WRONG)?;
    let period = period.trim();
    let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
        duration(period, Duration::ZERO).map_err(|_| WRONG)?
    } else {
        unit(period).ok_or(WRONG)?
    };
    if period.is_zero() { Err(WRONG.to_owned()) } else { Ok(Policy::new(name, limit, period)) }
}

/// A count of requests.
pub(crate) fn count(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|count| (1..=1_000_000_000).contains(count))
}

/// The parts of a list separated by commas.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// An origin such as `https://app.example.com`, as browsers write it.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no origin such as https://app.example.com");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if plain { Ok(url.origin().ascii_serialization()) } else { Err(wrong()) }
}

/// The public address of the server, without a slash at its end.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    const WRONG: &str = "must be an address such as https://crm.example.com";
    let url = Url::parse(text).map_err(|_| WRONG)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if plain { Ok(url.as_str().trim_end_matches('/').to_owned()) } else { Err(WRONG.to_owned()) }
}

/// The address of another service; `{customer_id}` may stand in it.
pub(crate) fn service_url(text: &str) -> Result<String, String> {
    const WRONG: &str = "must be an http or https address without a password, such as http://orders.internal:8080 or \
                         http://orders.internal/of/{customer_id}";
    let whole = text.replace("{customer_id}", "0198c1de-5f00-7000-8000-000000000001");
    let url = Url::parse(&whole).map_err(|_| WRONG)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && (url.query().is_none() || text.contains("{customer_id}"));
    if plain { Ok(text.trim().trim_end_matches('/').to_owned()) } else { Err(WRONG.to_owned()) }
}

/// CIDR blocks, or single addresses, separated by commas.
pub(crate) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |part: &str| {
        part.parse::<IpNet>()
            .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
            .map(|network| network.trunc())
            .map_err(|_| format!("{part:?} is no CIDR block such as 10.0.0.0/8"))
    };
    list(text).map(network).collect()
}

/// The file of `sqlite:PATH`, `sqlite://PATH` or `sqlite:///PATH`.
pub(crate) fn sqlite_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("sqlite:").unwrap_or(text);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(['?', '#', '\0']) || path.starts_with(":memory:") {
        return Err("must be sqlite: and the path of a file, such as sqlite:./crm-data/crm.db".to_owned());
    }
    Ok(PathBuf::from(path))
}

/// The URL of a Redis.
///
/// # Errors
/// A sentence that shows nothing of it.
pub(super) fn redis(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| {
        matches!(url.scheme(), "redis" | "rediss") && url.host_str().is_some_and(|host| !host.is_empty())
    });
    url.ok_or_else(|| "must be an address such as redis://user:password@host:6379/0".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_have_units() {
        let milliseconds = Duration::from_millis(1);
        for (text, expected) in [
            ("15m", Some(900_000)),
            ("7d", Some(604_800_000)),
            ("500ms", Some(500)),
            ("30000", Some(30_000)),
            ("12 h", Some(43_200_000)),
            ("2w", Some(1_209_600_000)),
            ("", None),
            ("m", None),
            ("-5s", None),
            ("1.5h", None),
            ("15x", None),
            ("99999999999s", None),
        ] {
            assert_eq!(duration(text, milliseconds).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("1073741824", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("500 mb", Some(500_000_000)),
            ("1TiB", Some(1 << 40)),
            ("1000", Some(1000)),
            ("0", None),
            ("999", None),
            ("2TiB", None),
            ("", None),
            ("-1", None),
            ("GB", None),
            ("1.5GB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn limits_have_periods() {
        let read = policies("100/min, 1000/h", &["minute", "hour"]).unwrap();
        assert_eq!(
            read,
            [Policy::new("minute", 100, Duration::from_mins(1)), Policy::new("hour", 1000, Duration::from_hours(1)),]
        );
        assert_eq!(policies("10/15min", &["login"]).unwrap(), [Policy::new("login", 10, Duration::from_mins(15))]);
        assert_eq!(policies("off", &["login"]), Ok(Vec::new()));
        for text in ["", "100", "0/min", "10/0s", "10/moon", "1/min,2/h", "x/min"] {
            assert!(policies(text, &["one"]).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_plain() {
        assert_eq!(origin("https://app.example.com/"), Ok("https://app.example.com".to_owned()));
        assert_eq!(origin("HTTP://LOCALHOST:3000"), Ok("http://localhost:3000".to_owned()));
        for text in ["app.example.com", "https://a.example/path", "https://u:p@a.example", "ftp://a.example", "*"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_database_is_a_file() {
        for (text, path) in [
            ("sqlite:crm.db", "crm.db"),
            ("sqlite:./data/crm.db", "./data/crm.db"),
            ("sqlite://crm.db", "crm.db"),
            ("sqlite:///var/lib/crm.db", "/var/lib/crm.db"),
        ] {
            assert_eq!(sqlite_path(text), Ok(PathBuf::from(path)), "{text}");
        }
        for text in ["sqlite:", "sqlite::memory:", "sqlite:crm.db?mode=ro"] {
            assert!(sqlite_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn services_have_plain_addresses() {
        assert_eq!(service_url("http://orders.internal:8080/"), Ok("http://orders.internal:8080".to_owned()));
        let whole = "https://10.0.0.7/of/{customer_id}?all=1";
        assert_eq!(service_url(whole), Ok(whole.to_owned()));
        for text in
            ["orders.internal", "ftp://orders", "http://a:b@orders", "http://orders?x=1", "http://orders#x", "http://"]
        {
            assert!(service_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_blocks_or_addresses() {
        let read: Vec<String> = networks("10.1.2.3/8, ::1").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(read, ["10.0.0.0/8", "::1/128"]);
        assert!(networks("10.0.0.0/33").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = base_url(&text);
            let _ = bytes(&text);
            let _ = networks(&text);
            let _ = sqlite_path(&text);
            let _ = duration(&text, Duration::from_millis(1));
            let _ = policies(&text, &["one", "two"]);
            let _ = origin(&text);
        }
    }
}
