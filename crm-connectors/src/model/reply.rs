//! What a chat completion says.

use crm_core::port::ModelFailure;
use serde::Deserialize;

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

/// The content of the first choice, without the fence that some models put around JSON.
pub(super) fn content(body: &[u8]) -> Result<String, ModelFailure> {
    let completion: Completion =
        serde_json::from_slice(body).map_err(|_| ModelFailure::Unusable("it is no chat completion"))?;
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(ModelFailure::Unusable("it has no choices"));
    };
    match choice.finish_reason.as_deref() {
        Some("length") => return Err(ModelFailure::Truncated),
        Some("content_filter") => return Err(ModelFailure::Declined),
        _ => {}
    }
    if choice.message.refusal.is_some_and(|refusal| !refusal.is_empty()) {
        return Err(ModelFailure::Declined);
    }
    let content = choice.message.content.ok_or(ModelFailure::Unusable("it has no content"))?;
    Ok(unfenced(&content).to_owned())
}

fn unfenced(content: &str) -> &str {
    let content = content.trim();
    let inner = content.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    // The language stands on the line of the fence.
    inner.and_then(|inner| inner.split_once('\n')).map_or(content, |(_, inner)| inner.trim())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(choice: &serde_json::Value) -> Result<String, ModelFailure> {
        content(json!({"choices": [choice]}).to_string().as_bytes())
    }

    #[test]
    fn what_a_model_says() {
        assert_eq!(said(&json!({"message": {"content": " {} "}, "finish_reason": "stop"})), Ok("{}".to_owned()));
        assert_eq!(said(&json!({"message": {"content": "```json\n{\"a\":1}\n```"}})), Ok("{\"a\":1}".to_owned()));
        assert_eq!(
            said(&json!({"message": {"content": "{\"a"}, "finish_reason": "length"})),
            Err(ModelFailure::Truncated)
        );
        assert_eq!(said(&json!({"message": {"content": null, "refusal": "No."}})), Err(ModelFailure::Declined));
        assert_eq!(
            said(&json!({"message": {"content": "x"}, "finish_reason": "content_filter"})),
            Err(ModelFailure::Declined)
        );
        for body in
            ["", "[]", "null", "{\"choices\":[]}", "{\"choices\":[{}]}", "{\"choices\":[{\"message\":{}}]}", "<html>"]
        {
            assert!(matches!(content(body.as_bytes()), Err(ModelFailure::Unusable(_))), "{body}");
        }
    }
}
