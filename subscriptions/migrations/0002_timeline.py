import django.db.models.deletion
from django.db import migrations, models


def fill_in_the_accounts(apps, schema_editor):
    """Operations and the history of before are on the timelines as well."""
    account_of = models.OuterRef('subscription')
    subscriptions = apps.get_model('subscriptions', 'Subscription').objects
    accounts = models.Subquery(subscriptions.filter(pk=account_of).values('account')[:1])
    apps.get_model('subscriptions', 'Operation').objects.update(account=accounts)
    history = apps.get_model('providers', 'HistoryEntry').objects
    for pk, uid in apps.get_model('providers', 'ProviderAccount')._base_manager.values_list('pk', 'uid'):
        history.filter(subject_type='account', subject_id=str(uid)).update(account=pk)
    for account, uid in subscriptions.values_list('account', 'uid').iterator():
        history.filter(subject_type='subscription', subject_id=str(uid)).update(account=account)


class Migration(migrations.Migration):

    dependencies = [
        ('providers', '0002_timeline'),
        ('subscriptions', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='operation',
            name='account',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='providers.provideraccount'),
        ),
        migrations.RunPython(fill_in_the_accounts, migrations.RunPython.noop),
    ]
