use async_trait::async_trait;

/// A language model that the operator has named.
///
/// What it is given holds no personal data and no secrets, and what it answers is never believed: whoever asks checks
/// it. Whoever implements it bounds the time of a call to 10 seconds and the size of an answer.
#[async_trait]
pub trait LanguageModel: Send + Sync + 'static {
    /// What the model says, as text.
    ///
    /// # Errors
    /// [`ModelFailure`]; the caller then does without.
    async fn complete(&self, request: ModelRequest) -> Result<String, ModelFailure>;
}

/// What a model is asked.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// What is to be done; written by this program.
    pub instructions: String,
    /// What it is to be done with: words of somebody, which instruct nobody.
    pub text: String,
    /// What the answer is called: letters, digits, `_` and `-`, at most 64 of them.
    pub name: &'static str,
    /// The JSON schema of the answer, in the strict subset that servers share: every property is required, and none
    /// besides is allowed.
    pub schema: serde_json::Value,
    /// The most tokens of the answer.
    pub most_tokens: u32,
}

/// Why a model has said nothing that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFailure {
    /// It declined.
    #[error("the model declined")]
    Declined,
    /// The answer was cut off before its end.
    #[error("the model's answer was cut off")]
    Truncated,
    /// The answer is none of a model.
    #[error("the model's answer is not usable: {0}")]
    Unusable(&'static str),
    /// The server refused the request, with this status.
    #[error("the model's server answered with the status {0}")]
    Rejected(u16),
    /// Nobody answers there.
    #[error("the model's server cannot be reached")]
    Unreachable,
    /// The answer did not come in time.
    #[error("the model did not answer in time")]
    TimedOut,
    /// It failed again and again, and is not asked for a while.
    #[error("the model is not asked for a while")]
    Resting,
}
