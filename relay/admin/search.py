"""Searches of the admin: a whole name by an index, otherwise words, in one pass over the rows."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from relay.admin.site import NotOffered

MAX_SEARCH_CHARACTERS: Final = 200  # each is compared at each place of each text
MAX_FOUND: Final = 5_000  # by words: the first ones in the model's own order


class NamesFirst(admin.ModelAdmin):  # type: ignore[type-arg]  # it takes none at run time
    """Searches ``name_fields``, which have indexes, for the whole term, and ``search_fields`` if no row has that name.

    Arguments that are ``Any`` are Django's own.
    """

    name_fields: ClassVar[tuple[str, ...]]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if not search_term:
            return queryset, False
        if len(search_term) > MAX_SEARCH_CHARACTERS:
            raise NotOffered(f"Search for at most {MAX_SEARCH_CHARACTERS} characters.")
        has_name = reduce(operator.or_, (Q((name, search_term)) for name in self.name_fields))
        if self.model._default_manager.filter(has_name).exists():
            return queryset.filter(has_name), False
        # By their keys: the page counts and lists what was found, and would search again each time.
        found, _ = super().get_search_results(request, queryset, search_term)
        return queryset.filter(pk__in=list(found.values_list("pk", flat=True)[:MAX_FOUND])), False
