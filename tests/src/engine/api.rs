//! An engine's API by its socket, or by another one that speaks it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::http::{self, Answer};

/// A socket, and the version to ask for.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
    prefix: String,
}

impl Api {
    /// The API at this socket, without a version: the newest that it has.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            prefix: String::new(),
        }
    }

    /// The same in this version, as `1.44`.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.prefix = format!("/v{version}");
        self
    }

    /// One request with a JSON body, or with none; any status is an answer.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let path = format!("{}{path}", self.prefix);
        let bytes = body.to_string();
        let body = (!body.is_null()).then_some(("application/json", bytes.as_bytes()));
        http::request(&self.socket, method, &path, body)
    }

    /// One request with a body of any kind; any status is an answer.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let path = format!("{}{path}", self.prefix);
        http::request(&self.socket, method, &path, Some((kind, body)))
    }

    /// GET.
    ///
    /// # Errors
    /// What the engine says.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.value("GET", path, &Value::Null)
    }

    /// POST of JSON, or of nothing where it is null.
    ///
    /// # Errors
    /// What the engine says.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.value("POST", path, body)
    }

    /// DELETE.
    ///
    /// # Errors
    /// What the engine says.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.value("DELETE", path, &Value::Null)
    }

    /// Creates and starts a container of busybox that sleeps; returns its id. `more` goes over the body's keys.
    ///
    /// # Errors
    /// What the engine says.
    pub fn sleeper(&self, name: &str, more: &Value) -> Result<String> {
        let mut body = json!({
            "Image": "busybox",
            "Cmd": ["sleep", "100000"],
            // sleep as the first process ignores the one that asks.
            "StopSignal": "SIGKILL",
        });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let made = self.post(&format!("/containers/create?name={name}"), &body)?;
        let id = made["Id"].as_str().unwrap_or_default().to_owned();
        self.post(&format!("/containers/{id}/start"), &Value::Null)?;
        Ok(id)
    }

    /// Removes all containers, running or not.
    ///
    /// # Errors
    /// What the engine says.
    pub fn remove_containers(&self) -> Result<()> {
        let all = self.get("/containers/json?all=1")?;
        for container in all.as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or_default();
            let answer = self.ask(
                "DELETE",
                &format!("/containers/{id}?force=1&v=1"),
                &Value::Null,
            )?;
            // One that removes itself may be gone, or going.
            ensure!(
                answer.status() < 300 || matches!(answer.status(), 404 | 409),
                "removing container {id}: {} {}",
                answer.status(),
                answer.message()
            );
        }
        Ok(())
    }

    fn value(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.ask(method, path, body)?;
        ensure!(
            (200..300).contains(&answer.status()) || answer.status() == 304,
            "{method} {path}: {} {}",
            answer.status(),
            answer.text().trim()
        );
        // Some answers are empty, some are several values; who wants those asks for the answer.
        Ok(answer.json().unwrap_or(Value::Null))
    }
}
