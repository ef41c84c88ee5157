"""The shop's own users."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Customer(AbstractUser):
    """Django's user, with a number."""

    number = models.CharField(max_length=20, blank=True)
