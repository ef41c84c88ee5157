"""The shop's own pages."""

import json
import urllib.request

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST


def home(request):
    """Welcome everyone."""
    return HttpResponse("The shop")


@login_required
def order(request, number):
    """Show an order, with a conversation about it."""
    session_id = f"order-{number}-{request.user.pk}"
    return render(request, "shop/order.html", {"number": number, "session_id": session_id})


@require_POST
def chat_ticket(request):
    """Give a customer a ticket for a session, as docs/access.md shows it."""
    if not request.user.is_authenticated:
        return JsonResponse({}, status=401)
    body = {"session_id": json.loads(request.body)["session_id"], "subject": str(request.user.pk)}
    address = f"http://{request.get_host()}/assistant/api/v1/tickets"
    headers = {"Content-Type": "application/json", "X-Internal-Auth": "of-the-shop"}
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)) as answer:
        return JsonResponse({"ticket": json.load(answer)["ticket"]})
