"""The application that daphne and uvicorn serve."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup(set_prefix=False)  # before the imports below, which need it

from relay.checks import stop_on_errors  # noqa: E402
from relay.routing import application as make_application  # noqa: E402

stop_on_errors()  # servers run no system checks

application = make_application(tune_gc=True)
