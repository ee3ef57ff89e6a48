use serde_json::json;

use super::{Accounts, LoginRecord, Password, User, sign_in::ATTEMPTS, totp};
use crate::{
    access::{Principal, permissions::PROFILE_WRITE},
    error::{Error, Result},
    input::Input,
    operation::Operation,
    secret::Secret,
    text::Line,
};

/// The password again, for a change of how a person signs in. Not needed within 15 minutes of signing in.
#[derive(Clone, Debug, Default, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PasswordAgain {
    /// The current password.
    pub password: Option<Password>,
}

/// A code of the second factor.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TotpCode {
    /// The six digits that the authenticator shows.
    #[input(alias = "totp")]
    pub code: Line<32>,
}

/// A second factor that waits for its first code.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The secret in base32, for typing.
    pub secret: Secret<String>,
    /// The `otpauth:` address, for a QR code.
    pub address: Secret<String>,
}

/// What a change of the second factor is decided on and leaves.
type Changed = (LoginRecord, User);

impl Accounts<'_> {
    /// Begins a second factor. It counts once a code of it was given: see [`Accounts::confirm_totp`].
    ///
    /// # Errors
    /// [`Error::Invalid`] where the password is needed or wrong, [`Error::Forbidden`] where a service acts.
    pub async fn enrol_totp(&self, by: &Principal, again: PasswordAgain) -> Result<Enrolment> {
        by.may(PROFILE_WRITE)?;
        let (login, user) = self.own(by).await?;
        self.confirm_presence(by, &login, again.password.as_ref()).await?;
        let settings = &self.state().settings;
        let secret = totp::new_secret(self.crm.random());
        let failed = || Error::internal("a second factor cannot be made");
        let sealed = settings.encryption_keys.seal(self.crm.random(), &format!("totp {}", login.id), &secret);
        let sealed = sealed.ok_or_else(failed)?;
        let address = totp::address(&secret, &settings.totp_issuer, user.email.as_str()).ok_or_else(failed)?;
        self.change_second_factor(by, "auth.totp_begun", |(login, _)| {
            login.totp_pending = Some(Secret::new(sealed.clone()));
            Ok(())
        })
        .await?;
        Ok(Enrolment { secret: Secret::new(totp::secret_text(&secret)), address: Secret::new(address) })
    }

    /// Makes the begun second factor count, by a code of it. The answer holds ten recovery codes, shown this once.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where none was begun, [`Error::Invalid`] for a wrong code, [`Error::RateLimited`].
    pub async fn confirm_totp(&self, by: &Principal, code: TotpCode) -> Result<Vec<Secret<String>>> {
        by.may(PROFILE_WRITE)?;
        let user = by.user_id()?;
        self.attempt(&format!("totp {user}")).await?;
        let codes = totp::new_recovery_codes(self.crm.random());
        let stored: Vec<String> = codes.iter().map(|code| totp::recovery_fingerprint(user.0, code)).collect();
        let now = self.crm.now();
        self.change_second_factor(by, "auth.totp_enabled", |(login, user)| {
            let Some(pending) = login.totp_pending.take() else {
                return Err(Error::InvalidState("No second factor was begun: begin one first.".to_owned()));
            };
            let keys = &self.state().settings.encryption_keys;
            let secret = keys.open(&format!("totp {}", login.id), pending.expose()).map_err(Error::internal)?;
            let Some(step) = totp::matching_step(&secret, &code.code, now, None) else {
                return Err(Error::invalid("code", "WRONG", "is not the code of this moment"));
            };
            login.totp_secret = Some(pending);
            login.totp_step = Some(step);
            login.recovery_codes = Secret::new(stored.clone());
            user.totp_enabled = true;
            Ok(())
        })
        .await?;
        Ok(codes.into_iter().map(Secret::new).collect())
    }

    /// Removes the second factor and its recovery codes.
    ///
    /// # Errors
    /// [`Error::InvalidState`] where there is none, [`Error::Invalid`] where the password is needed or wrong.
    pub async fn remove_totp(&self, by: &Principal, again: PasswordAgain) -> Result<()> {
        by.may(PROFILE_WRITE)?;
        let (login, _) = self.own(by).await?;
        if login.totp_secret.is_none() && login.totp_pending.is_none() {
            return Err(Error::InvalidState("There is no second factor.".to_owned()));
        }
        self.confirm_presence(by, &login, again.password.as_ref()).await?;
        self.change_second_factor(by, "auth.totp_removed", |(login, user)| {
            login.forget_second_factor();
            user.totp_enabled = false;
            Ok(())
        })
        .await
    }

    async fn change_second_factor(
        &self,
        by: &Principal,
        action: &str,
        decide: impl Fn(&mut Changed) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let before = self.own(by).await?;
            let mut after = before.clone();
            decide(&mut after)?;
            let home = Principal { organization: before.1.meta.organization_id, ..by.clone() };
            let mut operation = Operation::new(self.crm, &home);
            operation.update(&before.0, &mut after.0);
            operation.update(&before.1, &mut after.1);
            let shown = |user: &User| json!({ "totp_enabled": user.totp_enabled });
            operation.audit::<User>(action, before.1.id, Some(shown(&before.1)), Some(shown(&after.1)));
            match operation.commit().await {
                Ok(_) => return Ok(()),
                Err(Error::VersionConflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict("The account is being changed by many at once: try again.".to_owned()))
    }
}
