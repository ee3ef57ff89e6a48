//! The second factor: time-based one-time passwords (RFC 6238) and recovery codes.

use subtle::ConstantTimeEq as _;
use totp_rs::{Algorithm, Builder, Secret as TotpSecret, Totp};

use crate::{port::Random, secret::fingerprint, time::Timestamp};

/// How many recovery codes there are.
pub(crate) const RECOVERY_CODES: usize = 10;
/// Letters and digits that nobody mixes up.
const RECOVERY_ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// The seconds that one code lives.
const STEP: u64 = 30;

/// A new secret of 160 bits.
pub(crate) fn new_secret(random: &dyn Random) -> [u8; 20] {
    let mut secret = [0; 20];
    random.fill(&mut secret);
    secret
}

/// The secret in base32, for typing into an authenticator.
pub(crate) fn secret_text(secret: &[u8]) -> String {
    TotpSecret::from(secret).to_base32()
}

/// The `otpauth:` address for a QR code.
pub(crate) fn address(secret: &[u8], issuer: &str, account: &str) -> Option<String> {
    // The two parts are divided by a colon, which neither may hold.
    let (issuer, account) = (issuer.replace(':', " "), account.replace(':', " "));
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(STEP)
        .with_secret(TotpSecret::from(secret))
        .with_account_name(account)
        .with_issuer(Some(issuer))
        .build()
        .ok()?;
    totp.to_url().ok()
}

fn totp(secret: &[u8]) -> Option<Totp> {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(STEP)
        .with_secret(TotpSecret::from(secret))
        .with_account_name("account".to_owned())
        .with_issuer(Some("issuer".to_owned()))
        .build()
        .ok()
}

/// The step that the code is of: this one, the one before or the one after, and later than the last one used.
pub(crate) fn matching_step(secret: &[u8], code: &str, now: Timestamp, last_used: Option<i64>) -> Option<i64> {
    let code: String = code.chars().filter(|character| !character.is_whitespace()).collect();
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = u64::try_from(now.as_milliseconds() / 1000).ok()?;
    let totp = totp(secret)?;
    let step = i64::try_from(totp.check(&code, seconds)?).ok()?;
    (last_used.is_none_or(|last| step > last)).then_some(step)
}

/// The code of an instant, for those who hold the secret.
#[cfg(test)]
pub(crate) fn code_at(secret: &[u8], now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_milliseconds() / 1000).expect("after 1970");
    totp(secret).expect("a secret of 160 bits").generate(seconds).to_string()
}

/// New recovery codes, such as `abcde-fghjk`: 50 bits each.
pub(crate) fn new_recovery_codes(random: &dyn Random) -> Vec<String> {
    (0..RECOVERY_CODES)
        .map(|_| {
            let mut bytes = [0; 10];
            random.fill(&mut bytes);
            let letters: String =
                bytes.iter().map(|byte| char::from(RECOVERY_ALPHABET[usize::from(byte % 32)])).collect();
            format!("{}-{}", &letters[..5], &letters[5..])
        })
        .collect()
}

/// What is stored of a recovery code. Bound to the user, so that equal codes of two users differ.
pub(crate) fn recovery_fingerprint(user: uuid::Uuid, code: &str) -> String {
    let letters: String =
        code.chars().filter(char::is_ascii_alphanumeric).map(|character| character.to_ascii_lowercase()).collect();
    fingerprint(format!("recovery {user} {letters}").as_bytes())
}

/// The place of a recovery code among the stored ones.
pub(crate) fn matching_recovery(user: uuid::Uuid, code: &str, stored: &[String]) -> Option<usize> {
    if code.len() > 32 {
        return None;
    }
    let wanted = recovery_fingerprint(user, code);
    // Looks at every one, so that the time does not tell the place.
    stored.iter().enumerate().fold(None, |found, (place, stored)| {
        if bool::from(stored.as_bytes().ct_eq(wanted.as_bytes())) { Some(place) } else { found }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{code_at, matching_recovery, matching_step, new_recovery_codes, recovery_fingerprint};
    use crate::{port::SeededRandom, time::Timestamp};

    /// The secret of RFC 6238, appendix B.
    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(seconds * 1000).expect("in range")
    }

    #[test]
    fn the_codes_of_the_rfc() {
        // The last six of the eight digits that appendix B gives.
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (2_000_000_000, "279037")]
        {
            assert_eq!(code_at(SECRET, at(seconds)), code);
            assert_eq!(matching_step(SECRET, code, at(seconds), None), Some(seconds / 30));
        }
    }

    #[test]
    fn one_step_before_and_after_and_each_step_once() {
        let now = at(1_234_567_890);
        let step = 1_234_567_890 / 30;
        for (offset, expected) in
            [(-60, None), (-30, Some(step - 1)), (0, Some(step)), (30, Some(step + 1)), (60, None)]
        {
            let code = code_at(SECRET, at(1_234_567_890 + offset));
            assert_eq!(matching_step(SECRET, &code, now, None), expected, "{offset}");
        }
        let code = code_at(SECRET, now);
        assert_eq!(matching_step(SECRET, &code, now, Some(step)), None, "a replay");
        assert_eq!(matching_step(SECRET, &format!("{} {}", &code[..3], &code[3..]), now, Some(step - 1)), Some(step));
    }

    #[test]
    fn recovery_codes_match_as_people_write_them() {
        let codes = new_recovery_codes(&SeededRandom::new(3));
        let user = uuid::Uuid::from_u128(1);
        let stored: Vec<String> = codes.iter().map(|code| recovery_fingerprint(user, code)).collect();
        assert_eq!(codes.len(), 10);
        assert_eq!(matching_recovery(user, &codes[3].to_uppercase().replace('-', " "), &stored), Some(3));
        assert_eq!(matching_recovery(user, "aaaaa-aaaaa", &stored), None);
        assert_eq!(matching_recovery(uuid::Uuid::from_u128(2), &codes[3], &stored), None, "another user's");
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(code in any::<String>()) {
            let _ = matching_step(SECRET, &code, at(0), None);
            let _ = matching_recovery(uuid::Uuid::nil(), &code, &[]);
        }
    }
}
