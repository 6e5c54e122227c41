//! Uploads in parts that nobody will finish: found by age, and aborted.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use serde::Deserialize;
use url::Url;

/// Uploads in one answer.
const PAGE: &str = "1000";

/// Pages at most: more is for the next sweep.
const MAX_PAGES: usize = 1_000;

/// The uploads below a prefix of a bucket. `object_store` begins and aborts them, but has no list of them.
#[derive(Clone)]
pub(crate) struct Uploads {
    store: AmazonS3,
    http: HttpClient,
    bucket: String,
    region: String,
    prefix: String,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uploads({}/{})", self.bucket, self.prefix)
    }
}

/// An answer of ListMultipartUploads.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    upload: Vec<Upload>,
}

/// An upload that was begun.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

impl Uploads {
    /// The uploads below `prefix` (empty, or with a slash at its end) of the bucket at `bucket`.
    pub(crate) fn new(store: AmazonS3, http: HttpClient, bucket: String, region: String, prefix: String) -> Self {
        Self { store, http, bucket, region, prefix }
    }

    /// Aborts what was begun longer ago than that; answers with how many.
    pub(crate) async fn abort_stale(&self, older_than: Duration) -> object_store::Result<u64> {
        let begun_before = Timestamp::now().checked_sub(older_than).unwrap_or(Timestamp::MIN);
        let (mut aborted, mut page) = (0, Listed::default());
        for _ in 0..MAX_PAGES {
            page = self.list(&page.next_key_marker, &page.next_upload_id_marker).await?;
            for upload in &page.upload {
                // What cannot be read is not ours, and left alone.
                let (Ok(initiated), Ok(path)) = (upload.initiated.parse::<Timestamp>(), Path::parse(&upload.key))
                else {
                    continue;
                };
                if initiated <= begun_before {
                    match self.store.abort_multipart(&path, &upload.upload_id).await {
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => aborted += 1,
                        Err(error) => return Err(error),
                    }
                }
            }
            if !page.is_truncated {
                break;
            }
        }
        Ok(aborted)
    }

    async fn list(&self, key_marker: &str, id_marker: &str) -> object_store::Result<Listed> {
        let mut parameters = vec![("max-uploads", PAGE), ("prefix", self.prefix.as_str()), ("uploads", "")];
        if !key_marker.is_empty() {
            parameters.extend([("key-marker", key_marker), ("upload-id-marker", id_marker)]);
        }
        let url = Url::parse_with_params(&self.bucket, parameters).map_err(generic)?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.as_str().parse().map_err(generic)?;
        let credential = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).authorize(&mut request, None);
        let answer = self.http.execute(request).await.map_err(generic)?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(generic)?;
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            return Err(generic(std::io::Error::other(format!("list of uploads: {status}: {text}"))));
        }
        parse(&text).map_err(generic)
    }
}

fn parse(text: &str) -> Result<Listed, quick_xml::DeError> {
    quick_xml::de::from_str(text)
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket><KeyMarker></KeyMarker>
<NextKeyMarker>p/2</NextKeyMarker><NextUploadIdMarker>id2</NextUploadIdMarker><IsTruncated>true</IsTruncated>
<Upload><Key>p/a&amp;b</Key><UploadId>id1</UploadId><Initiator><ID>x</ID></Initiator>
<Initiated>2026-11-24T08:56:04.000Z</Initiated></Upload>
<Upload><Initiated>2026-11-24T08:56:04Z</Initiated><Key>p/2</Key><UploadId>id2</UploadId></Upload>
</ListMultipartUploadsResult>";
        let listed = parse(text).unwrap();
        assert!(listed.is_truncated);
        assert_eq!((listed.next_key_marker.as_str(), listed.next_upload_id_marker.as_str()), ("p/2", "id2"));
        assert_eq!(listed.upload.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["p/a&b", "p/2"]);
        assert!(listed.upload.iter().all(|upload| upload.initiated.parse::<Timestamp>().is_ok()));
        let empty = parse("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>");
        assert_eq!(empty.unwrap(), Listed::default());
    }
}
