//! Calls the service by tonic, over one channel.

use std::time::Duration;

use interop::{Failure, option, report, serve};
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
use status::item::Outcome;
use status::status_service_client::StatusServiceClient;
use status::watch_status_response::Event;
use status::{
    BatchGetStatusRequest, GetStatusRequest, GetStatusResponse, Item, WatchStatusRequest,
};

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
        |call| call_service(client.clone(), call),
        json!({ "status": { "code": 1 } }),
    )
    .await
}

async fn call_service(client: StatusServiceClient<Channel>, call: Value) -> Value {
    let answer = match call["method"].as_str() {
        Some("WatchStatus") => watch_status(client, &call).await,
        Some("BatchGetStatus") => batch_get_status(client, &call).await,
        _ => get_status(client, &call).await,
    };
    answer.unwrap_or_else(|status| {
        let mut answer = json!({ "status": status_json(&status) });
        if let Some(id) = status.metadata().get("x-request-id") {
            answer["requestId"] = id.to_str().unwrap_or_default().into();
        }
        answer
    })
}

async fn get_status(
    mut client: StatusServiceClient<Channel>,
    call: &Value,
) -> Result<Value, tonic::Status> {
    let req_id = call["reqId"].as_str().unwrap_or_default().to_owned();
    let wait = call["waitMs"]
        .as_i64()
        .map(|milliseconds| prost_types::Duration {
            seconds: milliseconds / 1_000,
            nanos: (milliseconds % 1_000 * 1_000_000) as i32,
        });
    let request = request(call, GetStatusRequest { req_id, wait });
    let response = client.get_status(request).await?;
    Ok(json!({ "response": response_json(response.into_inner()) }))
}

async fn batch_get_status(
    mut client: StatusServiceClient<Channel>,
    call: &Value,
) -> Result<Value, tonic::Status> {
    let req_ids = req_ids(call);
    let request = request(call, BatchGetStatusRequest { req_ids });
    let response = client.batch_get_status(request).await?;
    let items: Vec<_> = response
        .into_inner()
        .items
        .into_iter()
        .map(item_json)
        .collect();
    Ok(json!({ "response": { "items": items } }))
}

async fn watch_status(
    mut client: StatusServiceClient<Channel>,
    call: &Value,
) -> Result<Value, tonic::Status> {
    let req_ids = req_ids(call);
    let request = request(call, WatchStatusRequest { req_ids });
    let mut stream = client.watch_status(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        report(call, event_json(response.event));
    }
    Ok(json!({ "status": {} }))
}

fn request<Message>(call: &Value, message: Message) -> Request<Message> {
    let mut request = Request::new(message);
    if let Some(timeout) = call["timeoutMs"].as_u64() {
        request.set_timeout(Duration::from_millis(timeout));
    }
    if let Some(id) = call["requestId"].as_str() {
        request
            .metadata_mut()
            .insert("x-request-id", id.parse().expect("ASCII"));
    }
    request
}

fn req_ids(call: &Value) -> Vec<String> {
    let ids = call["reqIds"].as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str().map(String::from)).collect()
}

fn event_json(event: Option<Event>) -> Value {
    match event {
        Some(Event::Status(event)) => {
            let status = event.status.map(response_json);
            json!({ "status": { "reqId": event.req_id, "status": status } })
        }
        Some(Event::Gone(event)) => json!({ "gone": { "reqId": event.req_id } }),
        Some(Event::Heartbeat(event)) => {
            let time = event.datastore_answered_at.map(|time| time.to_string());
            json!({ "heartbeat": { "datastoreAnsweredAt": time } })
        }
        None => json!({}),
    }
}

fn item_json(item: Item) -> Value {
    let mut told = json!({ "reqId": item.req_id });
    match item.outcome {
        Some(Outcome::Status(status)) => told["status"] = response_json(status),
        Some(Outcome::Error(error)) => told["error"] = json!({ "reason": error.reason }),
        None => {}
    }
    if item.error_truncated {
        told["errorTruncated"] = true.into();
    }
    told
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
        Some("ErrorInfo") => pb::ErrorInfo::decode(value).map(|info| {
            let mut told = json!({ "reason": info.reason, "domain": info.domain });
            if !info.metadata.is_empty() {
                told["metadata"] = json!(info.metadata);
            }
            told
        }),
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
