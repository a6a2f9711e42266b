"""An S3 server on loopback that keeps its objects in memory."""

import logging
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pyarrow import fs

from cryptoai_assets.lib.s3_path import S3Path, S3Settings

with warnings.catch_warnings():
    # botocore still calls utcnow().
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="botocore")
    from moto.server import ThreadedMotoServer


@contextmanager
def s3_bucket() -> Iterator[S3Path]:
    """A new, empty bucket, served until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = S3Settings("us-east-1", f"http://{host}:{port}", "key", "secret")
        bucket = f"bucket-{secrets.token_hex(4)}"  # the memory of servers in one process is shared
        maker = fs.S3FileSystem(
            region=settings.region,
            endpoint_override=settings.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            allow_bucket_creation=True,
        )
        maker.create_dir(bucket)
        yield S3Path(bucket, settings)
    finally:
        server.stop()
