//! An S3 server for tests: `s3s-fs` in a folder, on a port of loopback, with signatures checked. Killed and
//! started again on the same folder and port, it has all that it acknowledged.
//!
//! `s3s-fs` looks whether an object exists before it takes the bytes, and renames over whatever is there when it
//! has them: of two puts that only create, both can succeed. One lock around such puts makes it keep the rule.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    PutObjectInput, PutObjectOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// The one that there is.
const BUCKET: &str = "relay";

struct Server {
    files: FileSystem,
    creating: Mutex<()>,
    obeys: bool,
}

#[async_trait::async_trait]
impl S3 for Server {
    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        // It would make a folder.
        if request.input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        if request.input.if_none_match.is_none() {
            return self.files.put_object(request).await;
        }
        if !self.obeys {
            request.input.if_none_match = None;
        }
        let _one = self.creating.lock().await;
        self.files.put_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.files.delete_objects(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }
}

/// `fieldbook-bucket-server FOLDER ADDRESS [--disobey]`: FOLDER/relay is the bucket `relay`. Prints the address
/// when it listens.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("a folder")?);
    let address: SocketAddr = args.next().ok_or("an address")?.parse()?;
    std::fs::create_dir_all(folder.join(BUCKET))?;
    let files = FileSystem::new(&folder).map_err(|error| format!("{error:?}"))?;
    let server = Server { files, creating: Mutex::default(), obeys: args.next().is_none() };
    let mut service = S3ServiceBuilder::new(server);
    service.set_auth(SimpleAuth::from_single("AKTESTS", "secret-of-the-tests"));
    let service = service.build();
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let http = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
