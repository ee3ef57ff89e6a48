use serde_json::json;

use super::{Accounts, LoginRecord, NewPassword, RegistrationMode, SignedIn, User, accounts::nobody};
use crate::{
    access::{RequestContext, Role},
    contact::Email,
    customer::{CustomerInput, NewCustomer, WriteOptions},
    error::{Error, Result},
    id::{OrganizationId, UserId},
    input::{Input, Patch},
    operation::Operation,
    record::Meta,
    tenancy::{NewOrganization, Organization},
    text::Line,
};

/// What somebody registers with. Role and organization are not theirs to choose.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registration {
    /// The name.
    pub name: Line<200>,
    /// The e-mail address to sign in with, unique in the installation.
    pub email: Email,
    /// The password: 8 to 128 characters, none of the commonest.
    pub password: NewPassword,
    /// Creates this organization, of which the person is the Admin. Without it the person becomes a Customer of the
    /// default organization.
    pub organization_name: Option<Line<200>>,
}

impl Accounts<'_> {
    /// Registers a person, as the Admin of a new organization or as a Customer of the default one, and signs the
    /// person in.
    ///
    /// That an address is taken is told: whoever registers learns it in any case from the mail that does not come.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where registration is not open for that, [`Error::Invalid`], [`Error::Duplicate`] for an
    /// address that is taken.
    pub async fn register(&self, registration: Registration, context: RequestContext) -> Result<SignedIn> {
        let settings = &self.state().settings;
        let Registration { name, email, password, organization_name } = registration;
        match (settings.registration, organization_name.is_some()) {
            (RegistrationMode::Off, _) => {
                return Err(Error::Forbidden("Registration is off here: an Admin can add you.".to_owned()));
            }
            (RegistrationMode::Customer, true) => {
                return Err(Error::Forbidden("Organizations cannot be created by registering here.".to_owned()));
            }
            _ => {}
        }
        let now = self.crm.now();
        let new_organization =
            organization_name.map(|name| Organization::new(self.crm.new_id_at(now), NewOrganization::named(name), now));
        let (organization, role) = match &new_organization {
            Some(organization) => (organization.id, Role::Admin),
            None => (self.default_organization().await?, Role::Customer),
        };
        if self.login_of(&email).await?.is_some() {
            return Err(taken());
        }
        let hash = self.state().hasher.hash(&password, "password", self.crm.random()).await?;
        let id: UserId = self.crm.new_id_at(now);
        let meta = Meta::new(organization, now);
        let user = User::new(id, name, email.clone(), role, meta);
        let login = LoginRecord::new(id, &email, Some(hash), meta);
        let begun = self.begin(user.clone(), None, &context, now)?;
        let by = user.principal().with_context(context);
        let mut operation = Operation::at(self.crm, &by, now);
        if let Some(organization) = &new_organization {
            operation.insert(organization);
            operation.audit::<Organization>("organization.created", organization.id, None, Some(json!(organization)));
            operation.emit("organization.created", organization, organization);
        }
        operation.insert(&user);
        operation.insert(&login);
        Self::insert_session(&mut operation, &begun);
        operation.audit::<User>("auth.registered", id, None, Some(json!(user)));
        operation.emit("user.created", &user, &user);
        operation.commit().await.map_err(email_taken)?;
        if role == Role::Customer {
            self.add_customer(&user, &by.context).await;
        }
        Ok(begun.signed_in)
    }

    /// Gives a Customer a customer record. An address that nobody has proved to be theirs opens no record that is
    /// there already: then the new record has none, and staff merge the two. Where the organization asks for fields
    /// that nobody gave, staff create it.
    async fn add_customer(&self, user: &User, context: &RequestContext) {
        let by = nobody(user.meta.organization_id, context);
        let mut input = CustomerInput {
            name: Patch::Set(user.name.clone()),
            email: Patch::Set(user.email.clone()),
            user_id: Patch::Set(user.id),
            ..CustomerInput::default()
        };
        let customers = self.crm.customers();
        let mut added = customers.create(&by, NewCustomer(input.clone()), WriteOptions::default()).await;
        if matches!(added, Err(Error::Duplicate { .. })) {
            input.email = Patch::Keep;
            added = customers.create(&by, NewCustomer(input), WriteOptions::default()).await;
        }
        if let Err(error) = added {
            tracing::warn!(user = %user.id, %error, "a registered customer got no customer record");
        }
    }

    async fn default_organization(&self) -> Result<OrganizationId> {
        let Some(organization) = self.state().settings.default_organization else {
            let message = "is required: there is no default organization here to join";
            return Err(Error::invalid("organization_name", "REQUIRED", message));
        };
        if self.crm.organizations().is_active(organization).await? {
            Ok(organization)
        } else {
            Err(Error::Forbidden("The default organization cannot be joined.".to_owned()))
        }
    }

    /// Adds a `SuperAdmin`, who belongs to no organization. For the command line: there is no route to it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a password that is too common, [`Error::Duplicate`] for an address that is taken.
    pub async fn create_super_admin(&self, name: Line<200>, email: Email, password: NewPassword) -> Result<User> {
        let hash = self.state().hasher.hash(&password, "password", self.crm.random()).await?;
        let now = self.crm.now();
        let (id, meta) = (self.crm.new_id_at(now), Meta::new(OrganizationId::INSTALLATION, now));
        let user = User::new(id, name, email.clone(), Role::SuperAdmin, meta);
        let by = nobody(OrganizationId::INSTALLATION, &RequestContext::default());
        let mut operation = Operation::at(self.crm, &by, now);
        operation.insert(&user);
        operation.insert(&LoginRecord::new(id, &email, Some(hash), meta));
        operation.audit::<User>("user.created", id, None, Some(json!(user)));
        operation.commit().await.map_err(email_taken)?;
        Ok(user)
    }
}

pub(super) fn taken() -> Error {
    Error::Duplicate {
        message: "There is an account with this e-mail address already.".to_owned(),
        fields: vec!["email".to_owned()],
        matches: Vec::new(),
    }
}

/// Says it the same way when the address was taken a moment ago.
pub(crate) fn email_taken(error: Error) -> Error {
    match error {
        Error::Duplicate { fields, .. } if fields.iter().any(|field| field == "email") => taken(),
        other => other,
    }
}
