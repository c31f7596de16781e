//! Calls the service by tonic, over one channel.

use std::time::Duration;

use interop::{Failure, option, serve};
use prost::Message;
use prost_types::Any;
use serde_json::{Value, json};
use tonic::Request;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic_types::pb;

mod status {
    tonic::include_proto!("gomemory.status.v1");
}
use status::GetStatusRequest;
use status::GetStatusResponse;
use status::status_service_client::StatusServiceClient;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let scheme = if option("ca").is_some() {
        "https"
    } else {
        "http"
    };
    let target = option("target").ok_or("--target")?;
    let mut endpoint = Channel::from_shared(format!("{scheme}://{target}"))?;
    if let Some(path) = option("ca") {
        let trusted = Certificate::from_pem(std::fs::read(path)?);
        endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(trusted))?;
    }
    if let Some(interval) = option("ping") {
        let interval = Duration::from_millis(interval.parse()?);
        endpoint = endpoint
            .http2_keep_alive_interval(interval)
            .keep_alive_while_idle(true);
    }
    let mut client = StatusServiceClient::new(endpoint.connect_lazy());
    if option("gzip").is_some() {
        let gzip = CompressionEncoding::Gzip;
        client = client.send_compressed(gzip).accept_compressed(gzip);
    }
    serve(
        |call| get_status(client.clone(), call),
        json!({ "status": { "code": 1 } }),
    )
    .await
}

async fn get_status(mut client: StatusServiceClient<Channel>, call: Value) -> Value {
    let req_id = call["reqId"].as_str().unwrap_or_default().to_owned();
    let mut request = Request::new(GetStatusRequest { req_id });
    if let Some(timeout) = call["timeoutMs"].as_u64() {
        request.set_timeout(Duration::from_millis(timeout));
    }
    if let Some(id) = call["requestId"].as_str() {
        request
            .metadata_mut()
            .insert("x-request-id", id.parse().expect("ASCII"));
    }
    match client.get_status(request).await {
        Ok(response) => json!({ "response": response_json(response.into_inner()) }),
        Err(status) => {
            let mut answer = json!({ "status": status_json(&status) });
            if let Some(id) = status.metadata().get("x-request-id") {
                answer["requestId"] = id.to_str().unwrap_or_default().into();
            }
            answer
        }
    }
}

fn response_json(response: GetStatusResponse) -> Value {
    let mut told = json!({ "status": response.status().as_str_name() });
    if let Some(created_at) = response.created_at {
        told["createdAt"] = created_at.to_string().into();
    }
    if let Some(error) = response.error {
        told["error"] = error.into();
    }
    told
}

fn status_json(status: &tonic::Status) -> Value {
    let mut told = json!({ "code": status.code() as i32, "message": status.message() });
    let details = pb::Status::decode(status.details())
        .map(|told| told.details)
        .unwrap_or_default();
    if !details.is_empty() {
        told["details"] = details.iter().map(detail_json).collect();
    }
    told
}

/// The contract's details in their canonical JSON.
fn detail_json(detail: &Any) -> Value {
    let value = detail.value.as_slice();
    let mut told = match detail.type_url.rsplit('.').next() {
        Some("ErrorInfo") => pb::ErrorInfo::decode(value)
            .map(|info| json!({ "reason": info.reason, "domain": info.domain })),
        Some("BadRequest") => pb::BadRequest::decode(value).map(|bad| {
            let violations = bad.field_violations.iter().map(|violation| {
                json!({
                    "field": violation.field,
                    "description": violation.description,
                    "reason": violation.reason,
                })
            });
            json!({ "fieldViolations": violations.collect::<Vec<_>>() })
        }),
        Some("RetryInfo") => pb::RetryInfo::decode(value)
            .map(|info| json!({ "retryDelay": info.retry_delay.map(|delay| delay.to_string()) })),
        _ => Ok(json!({})),
    }
    .unwrap_or_else(|error| json!({ "error": error.to_string() }));
    told["@type"] = detail.type_url.clone().into();
    told
}
