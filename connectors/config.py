"""The only reader of environment variables: one frozen `Settings` for each process.

Defaults suit a demo on this machine; nothing that must be secret in production has a default.
All missing or wrong variables are reported in one message.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError


class SettingsError(Exception):
    """The environment does not say what is needed; the text names every variable that is missing or wrong."""


def _comma_separated(text: object) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _keys(text: object) -> object:
    """`id:base64` pairs, the current key first."""
    if not isinstance(text, str):
        return text
    pairs = [part.split(":", 1) for part in text.split(",") if part.strip()]
    try:
        return {key_id.strip(): base64.b64decode(value, validate=True) for key_id, value in pairs}
    except (ValueError, binascii.Error) as error:
        raise ValueError("must be id:base64 pairs, separated by commas") from error


Words = Annotated[tuple[SecretStr, ...], BeforeValidator(_comma_separated)]
Keys = Annotated[dict[str, bytes], BeforeValidator(_keys)]


class Settings(BaseModel):
    """Everything that differs from one installation to another. Units stand in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka_bootstrap: str = Field(description="host:port of the brokers, separated by commas")
    database_url: SecretStr = Field(description="PostgreSQL, as postgresql://user:password@host:port/name")
    master_keys: Keys = Field(
        repr=False, description="id:base64 of 32-byte keys that wrap the companies' keys; the first one seals"
    )
    topic_prefix: str = Field("", description="before every topic and group name; empty in production")
    topic_partitions: int = Field(64, ge=1, le=1024, description="partitions of every topic; fixed for ever")
    topic_generation: int = Field(1, ge=1, description="generation of the derived topics and tables")
    schema_registry_url: str = Field("", description="a Confluent-compatible registry; empty: our own schema files")
    kafka_session_timeout_s: float = Field(30.0, gt=0, description="after this silence a worker loses its partitions")
    quickbooks_api_url: str = Field("https://quickbooks.api.intuit.com", description="base of the accounting API")
    quickbooks_discovery_url: str = Field(
        "https://developer.api.intuit.com/.well-known/openid_configuration", description="where OAuth endpoints stand"
    )
    quickbooks_client_id: str = Field("", description="of the Intuit app")
    quickbooks_client_secret: SecretStr = Field(SecretStr(""), description="of the Intuit app")
    quickbooks_redirect_url: str = Field(
        "http://127.0.0.1:8081/integrations/quickbooks/callback", description="exactly as registered with Intuit"
    )
    quickbooks_timeout_s: float = Field(20.0, gt=0, description="for one answer of QuickBooks")
    quickbooks_calls_per_month_max: int = Field(500_000, ge=1, description="metered calls of all companies together")
    parked_per_minute_max: int = Field(50, ge=1, description="more parked records of one step in a minute stop it")
    webhook_verifier_tokens: Words = Field((), description="of the Intuit app; several during a rotation")
    ingress_host: str = Field("127.0.0.1", description="where the ingress listens")
    ingress_port: int = Field(8080, ge=0, le=65535, description="0: any free port")
    web_host: str = Field("127.0.0.1", description="where the pages listen; an address of this machine only")
    web_port: int = Field(8081, ge=0, le=65535, description="0: any free port")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus metrics of a worker or the ingress; 0: none")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR")
    build: str = Field("dev", description="what runs here: stands in parked records and logs")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises SettingsError that names every variable which is missing or wrong."""
        names = {name: name.upper() for name in cls.model_fields}
        given = {name: environment[variable] for name, variable in names.items() if environment.get(variable)}
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            lines = [f"{str(issue['loc'][0]).upper()}: {issue['msg']}" for issue in error.errors()]
            raise SettingsError("The environment is not complete:\n  " + "\n  ".join(lines)) from None
        wrong = [key_id for key_id, key in settings.master_keys.items() if len(key) != 32]
        if wrong or not settings.master_keys:
            raise SettingsError("The environment is not complete:\n  MASTER_KEYS: each key must have 32 bytes")
        return settings
