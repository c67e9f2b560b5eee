"""All settings, read from the environment, `.env` or `DATA_DIR/secrets.env`. docs/reference/settings.md lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
from django.templatetags.static import static
from django.urls import reverse_lazy

from config import environment
from config.dashboard.navigation import NAVIGATION
from providers.contract.equivalence import canonical_url

# Allows annotations such as ModelAdmin[Event], which Django does not support at run time.
django_stubs_ext.monkeypatch()

BASE_DIR: Path = environment.BASE_DIR
DATA_DIR: Path = environment.DATA_DIR

# Identity and addresses

DEBUG = environment.flag("DEBUG", default=False)
SECRET_KEY = environment.secret("SECRET_KEY", minimum=32)
ENCRYPTION_KEYS: tuple[str, ...] = environment.fernet_keys("ENCRYPTION_KEYS")
HOST = environment.text("HOST", "127.0.0.1")
PORT = environment.number("PORT", 8000, minimum=1, maximum=65535)
PUBLIC_URL = canonical_url(environment.origin("PUBLIC_URL", f"http://127.0.0.1:{PORT}"))
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_host = urlsplit(PUBLIC_URL).hostname or ""
PUBLIC_HOST = f"[{_host}]" if ":" in _host else _host
ALLOWED_HOSTS: list[str] = list(
    environment.comma_separated("ALLOWED_HOSTS", tuple(dict.fromkeys((PUBLIC_HOST, *LOOPBACK))))
)
ADMIN_PASSWORD = environment.text("ADMIN_PASSWORD")

# The sandbox: a simulation of the providers' servers

DEMO = environment.flag("DEMO", default=True)
SANDBOX_PORT = environment.number("SANDBOX_PORT", 8010, minimum=1, maximum=65535)
SANDBOX_URL: str | None = f"http://127.0.0.1:{SANDBOX_PORT}" if DEMO else None
if DEMO and SANDBOX_PORT == PORT:
    raise environment.SettingError("SANDBOX_PORT", f"{PORT} is also PORT; use another number.")

# Limits

ALLOW_PRIVATE_NETWORKS = environment.networks("ALLOW_PRIVATE_NETWORKS")
TRUSTED_PROXIES = environment.networks("TRUSTED_PROXIES")
MAX_BODY_BYTES = environment.number("MAX_BODY_BYTES", 10 * 1024 * 1024, minimum=1, maximum=2**31)
RECEIVER_ENTRY = environment.choice("RECEIVER_ENTRY", "DRF", allowed=("DRF", "WSGI"))  # WSGI: in front of Django
SPOOL_MAX_BYTES = environment.number("SPOOL_MAX_BYTES", 1024**3, minimum=32 * 1024 * 1024, maximum=2**40)
RECEIVE_IN_THREADS = True  # a commit thread writes for all requests; off: each request writes for itself
WATCH_IN_THREAD = True  # the web process detects problems when no worker does
NORMALIZE_IN_THREAD = True  # the web process normalizes at once; the worker normalizes the rest

# Django

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en-gb"
USE_I18N = False

INSTALLED_APPS = [
    "config",
    "unfold",  # before the admin, because it replaces the admin's templates
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "providers",
    "subscriptions",
    "events",
]

MIDDLEWARE = [
    "config.web.proxies.TrustedProxies",
    "config.web.bypass_middleware.BypassMiddleware",  # before everything that could reject or redirect a webhook
    "providers.rest.problems.ProblemDetailsMiddleware",  # before everything that could answer API clients with a page
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.web.form_once.FormOnce",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# These paths bypass all later middleware: no host check, no redirect, no session. See config/web/bypass_middleware.py.
BYPASS_PATHS = ("/hooks/", "/livez", "/readyz")

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["config.templatetags.form_key"],  # for the forms of Django and Unfold too
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Database, broker, email

DATABASES: dict[str, dict[str, Any]] = {
    "default": environment.database("DATABASE_URL", f"sqlite:///{DATA_DIR / 'hookkeeper.sqlite3'}"),
}
CELERY_BROKER_URL = environment.broker("CELERY_BROKER_URL")
vars().update(environment.email("EMAIL_URL"))
DEFAULT_FROM_EMAIL = environment.text("EMAIL_FROM", f"hookkeeper@{PUBLIC_HOST}")

# Static files: the web process serves them directly from the packages, without collectstatic.

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# Security

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_ENGINE = "config.web.sessions"
SESSION_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
if urlsplit(PUBLIC_URL).scheme == "https":
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
if TRUSTED_PROXIES:
    # config.web.proxies removes this header from all other requests.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    # TLS ends at the proxy. Without a trusted proxy, HTTPS would not be recognized and would redirect forever.
    SECURE_SSL_REDIRECT = urlsplit(PUBLIC_URL).scheme == "https"

# REST framework. Views deny access unless they declare scopes.

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_RENDERER_CLASSES": ["providers.rest.renderers.FastJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["providers.rest.parsers.StrictJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["config.rest.authentication.BearerTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["providers.rest.permissions.HasScopes"],
    "DEFAULT_PAGINATION_CLASS": "providers.rest.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["providers.rest.filter_backend.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "config.rest.openapi.ApiSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "providers.rest.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Hookkeeper",
    "DESCRIPTION": "Keeps webhook subscriptions alive and stores every event they send.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],  # both pages are public
    "SERVE_PERMISSIONS": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "PREPROCESSING_HOOKS": ["config.rest.openapi.keep_api_endpoints"],
    "POSTPROCESSING_HOOKS": ["config.rest.openapi.complete"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},  # None: no external validator
}

# Admin

LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
UNFOLD = {
    "LOGIN": {"form": "config.web.login.LoginForm"},
    "SITE_TITLE": "Hookkeeper",
    "SITE_HEADER": "Hookkeeper",
    "SITE_SUBHEADER": "Webhook subscriptions",
    "SITE_SYMBOL": "webhook",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("hookkeeper/icon.svg")}],
    "SITE_URL": None,  # the dashboard is the site
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,  # the audit trail replaces it and includes changes through the API
    "DASHBOARD_CALLBACK": "config.dashboard.home.dashboard",
    "STYLES": [lambda request: static("hookkeeper/pages.css")],
    "SCRIPTS": [lambda request: static("hookkeeper/pages.js")],
    "SIDEBAR": {"show_search": False, "navigation": NAVIGATION},
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.6)",
            "100": "oklch(93.2% .032 255.6)",
            "200": "oklch(88.2% .059 254.1)",
            "300": "oklch(80.9% .105 251.8)",
            "400": "oklch(70.7% .165 254.6)",
            "500": "oklch(62.3% .214 259.8)",
            "600": "oklch(54.6% .245 262.9)",
            "700": "oklch(48.8% .243 264.4)",
            "800": "oklch(42.4% .199 265.6)",
            "900": "oklch(37.9% .146 265.5)",
            "950": "oklch(28.2% .091 267.9)",
        },
    },
}

# Logging: one line per record, on standard error

LOG_LEVEL = environment.choice("LOG_LEVEL", "INFO", allowed=("DEBUG", "INFO", "WARNING", "ERROR"))
_CHATTY = LOG_LEVEL if LOG_LEVEL == "DEBUG" else "WARNING"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.monitoring.logs.OneLine"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django's own handlers would write each record twice, or send it by email.
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        # Scanners send arbitrary Host headers; a traceback for each would bury other messages. The null handler keeps
        # Python's handler of last resort from writing them.
        "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
        "celery": {"level": _CHATTY},
        "kombu": {"level": _CHATTY},
        "urllib3": {"level": _CHATTY},
    },
}
