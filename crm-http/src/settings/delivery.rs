//! How messages leave, and what vendors sign receipts with.

use std::time::Duration;

use crm_core::{
    delivery::{DeliverySettings, MockVendorSettings},
    secret::Secret,
    webhook::SigningSecret,
};

use super::{MILLISECOND, reader::Reader, secrets};

/// The longest step of the built-in vendor.
const LONGEST_LATENCY: Duration = Duration::from_hours(1);

/// A mail server.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Where it is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom it knows us by, with the password.
    pub credentials: Option<(String, Secret<String>)>,
    /// Whom mail is from.
    pub from: String,
    /// Whether the connection must be encrypted.
    pub tls: bool,
}

impl Reader<'_> {
    pub(super) fn mock_vendor(&mut self, production: bool) -> Option<MockVendorSettings> {
        let usual = MockVendorSettings::default();
        let is_on = self.read("MOCK_VENDOR", !production, |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("must be on or off".to_owned()),
        });
        let settings = MockVendorSettings {
            failure_rate: self.rate("MOCK_VENDOR_FAILURE_RATE", usual.failure_rate),
            latency: self.duration(
                "MOCK_VENDOR_LATENCY",
                usual.latency,
                MILLISECOND,
                (Duration::ZERO, LONGEST_LATENCY),
            ),
            late_rate: self.rate("MOCK_VENDOR_LATE_RATE", usual.late_rate),
            duplicate_rate: self.rate("MOCK_VENDOR_DUPLICATE_RATE", usual.duplicate_rate),
            disorder_rate: self.rate("MOCK_VENDOR_DISORDER_RATE", usual.disorder_rate),
            lost_rate: self.rate("MOCK_VENDOR_LOST_RATE", usual.lost_rate),
            seed: self.read("MOCK_VENDOR_SEED", usual.seed, |text| {
                text.parse().map_err(|_| "must be a whole number from 0".to_owned())
            }),
        };
        is_on.then_some(settings)
    }

    fn rate(&mut self, name: &str, default: f64) -> f64 {
        self.read(name, default, |text| {
            let rate = text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
            rate.ok_or_else(|| "must be a number from 0 to 1".to_owned())
        })
    }

    pub(super) fn receipt_secret(&mut self, production: bool) -> Option<SigningSecret> {
        self.read("DELIVERY_RECEIPT_SECRET", None, |text| {
            if production && secrets::is_weak(text) {
                return Err("is a sample or too simple; take one of: openssl rand -base64 32".to_owned());
            }
            let secret = DeliverySettings::receipt_secret_of(text);
            secret.map(Some).ok_or_else(|| {
                "must be whsec_ and base64 of 24 to 64 bytes, or another text of at least 32 bytes".to_owned()
            })
        })
    }

    pub(super) fn mail(&mut self, production: bool) -> Option<Mail> {
        let host = self.values.text("SMTP_HOST").map(str::to_owned);
        let port = self.read("SMTP_PORT", 587, |text| {
            text.parse().ok().filter(|port| *port > 0).ok_or_else(|| "must be a port from 1 to 65535".to_owned())
        });
        let tls = self.read("SMTP_TLS", true, |text| match text {
            "required" => Ok(true),
            "off" => Ok(false),
            _ => Err("must be required or off".to_owned()),
        });
        let user = self.values.text("SMTP_USER").map(str::to_owned);
        let password = self.values.text("SMTP_PASS").map(str::to_owned);
        let from = self.values.text("SMTP_FROM").map(str::to_owned);
        let Some(host) = host else {
            // A mailbox may be named without a server that sends.
            return None;
        };
        if production && !tls {
            self.wrong("SMTP_TLS", "cannot be off in production");
        }
        let Some(from) = from else {
            self.wrong("SMTP_FROM", "is needed with SMTP_HOST: whom mail is from");
            return None;
        };
        if let Err(problem) = crm_connectors::check_mailbox(&from) {
            self.wrong("SMTP_FROM", problem);
            return None;
        }
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some((user, Secret::new(password))),
            (None, None) => None,
            (Some(_), None) => {
                self.wrong("SMTP_PASS", "is needed with SMTP_USER");
                None
            }
            (None, Some(_)) => {
                self.wrong("SMTP_USER", "is needed with SMTP_PASS");
                None
            }
        };
        Some(Mail { host, port, credentials, from, tls })
    }
}
